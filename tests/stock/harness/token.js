// JSON Web Tokens as a login would hand them out.

import { createHmac } from "node:crypto";

export const SECRET = "a secret that only the server knows";

/** A token that says this. It is valid for an hour unless `exp` says otherwise. */
export function token(claims, secret = SECRET) {
  const parts = [
    { alg: "HS256", typ: "JWT" },
    { exp: seconds() + 3_600, ...claims },
  ].map((part) => Buffer.from(JSON.stringify(part)).toString("base64url"));
  const signed = parts.join(".");
  return `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
}

/** Since the Unix epoch. */
export function seconds() {
  return Math.floor(Date.now() / 1_000);
}
