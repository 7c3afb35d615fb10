//! Request heads of every kind, and what becomes of what is secret in them.

use std::fmt::Debug;

use rejoin_core::phoenix::{
    Admission, AllowedOrigin, Decision, LongPollCall, OriginPolicy, RequestHead, ResponseHead, UpgradeConfig,
    serializer_of,
};

/// Stands wherever the input has a `$`, if it is a place where credentials are.
const SECRET: &str = "cmVqb2luIHNlY3JldA";

/// Decides on a head, written as in HTTP: `GET /path?query`, then a header a line. The first byte
/// chooses the configuration.
#[expect(clippy::missing_panics_doc, reason = "panicking is how a fuzz target speaks")]
pub fn upgrade(data: &[u8]) {
    let Some((choice, head)) = data.split_first() else { return };
    let config = config(*choice);
    let mut lines = head.split(|byte| *byte == b'\n');
    let request_line = String::from_utf8_lossy(lines.next().unwrap_or_default());
    let (method, target) = request_line.split_once(' ').unwrap_or((&request_line, ""));
    let target = target.split_once('?').map_or(target.to_owned(), |(path, query)| format!("{path}?{}", plant(query)));
    let headers: Vec<_> = lines.map(header).collect();
    let headers = headers.iter().map(|(name, value)| (name.as_str(), value));
    let request = RequestHead::new(method, &target, headers);

    keeps_secrets(&request);
    keeps_secrets(&LongPollCall::of(&request));
    let decision = config.decide(&request);
    keeps_secrets(&decision);
    assert_eq!(decision, config.decide(&request));
    let polls = config.admit(&request);
    keeps_secrets(&polls);
    match &decision {
        Decision::Accept(upgrade) => {
            answers(&upgrade.response, &[101]);
            let accept = upgrade.response.headers.iter().find(|(name, _)| name == "sec-websocket-accept");
            assert!(accept.is_some_and(|(_, value)| value.len() == 28), "{upgrade:?}");
            admitted(&config, &target, &upgrade.admission);
        }
        Decision::Refuse(head) => answers(head, &[400, 403, 405, 426]),
    }
    match &polls {
        Ok(admission) => admitted(&config, &target, admission),
        Err(response) => assert!([200, 400].contains(&response.status), "{response:?}"),
    }
}

fn config(choice: u8) -> UpgradeConfig {
    let mut config = UpgradeConfig::default();
    config.token_required = choice & 1 != 0;
    config.origin = match choice >> 1 & 3 {
        0 => OriginPolicy::Any,
        1 => OriginPolicy::List(["//h", "https://*.h:1"].iter().filter_map(|entry| entry.parse().ok()).collect()),
        _ => OriginPolicy::SameHost,
    };
    config
}

/// A line as a header; its value may be an origin to put in a list, which is shown as it is read.
fn header(line: &[u8]) -> (String, Vec<u8>) {
    let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
    let (name, value) = (String::from_utf8_lossy(&line[..colon]), line.get(colon + 1..).unwrap_or_default());
    if let Ok(Ok(origin)) = std::str::from_utf8(value).map(str::parse::<AllowedOrigin>) {
        assert_eq!(origin.to_string().parse().as_ref(), Ok(&origin));
    }
    let value = match std::str::from_utf8(value) {
        Ok(text) => plant(text).into_bytes(),
        Err(_) => value.to_vec(),
    };
    (name.into_owned(), value)
}

fn plant(text: &str) -> String {
    text.replace('$', SECRET)
}

fn keeps_secrets(shown: &impl Debug) {
    let shown = format!("{shown:?}");
    assert!(!shown.contains(SECRET) && !shown.contains("rejoin secret"), "{shown}");
}

fn answers(head: &ResponseHead, statuses: &[u16]) {
    assert!(statuses.contains(&head.status), "{head:?}");
    let is_visible = |text: &str| text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    assert!(head.headers.iter().all(|(name, value)| is_visible(name) && is_visible(value)), "{head:?}");
}

fn admitted(config: &UpgradeConfig, target: &str, admission: &Admission) {
    assert_eq!(Ok(admission.serializer), serializer_of(target));
    assert!(admission.token.is_some() || !config.token_required);
    assert!(admission.token.as_ref().is_none_or(|token| !token.expose().is_empty()));
    for (name, _) in admission.params.iter() {
        assert!(admission.params.get(&name).is_some());
    }
}
