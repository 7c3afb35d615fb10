//! The command line from outside: the real binary, its output, its exit codes.

mod demo;
mod doctor;
mod explain;
mod hearing;
mod input;
mod loss;
mod over_http;
mod program;
mod realtime;
mod record;
mod serve;
mod strange;
mod supabase;
mod talk;
mod transport;
