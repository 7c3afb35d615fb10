//! Tokens of every kind and in every state, and what becomes of them.

mod differential;
mod issuer;
mod keys;
mod rules;
mod vectors;
