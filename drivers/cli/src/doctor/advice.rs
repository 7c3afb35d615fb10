//! What to do about what went wrong, in a sentence.

use rejoin_core::phoenix::LossReason;
use rejoin_core::supabase::{
    PostgresFailure, Refusal, RefusalClass, SubscribeFailure, SystemMessage, UpgradeClass, UpgradeRefusal,
};

use super::report::Trouble;

/// What a refused upgrade, or a connection that was lost, means on a Supabase project.
pub(super) fn of_project_loss(reason: &LossReason) -> Trouble {
    let refusal = if let LossReason::Open(error) = reason { UpgradeRefusal::of(error) } else { None };
    let Some(refusal) = refusal else { return Trouble::new(reason, of_loss(reason)) };
    let fix = match refusal.class {
        UpgradeClass::UnknownProject => {
            "check the URL: its host must begin with the project's id, and its path on a gateway is /realtime/v1"
        }
        _ => refusal.advice(),
    };
    Trouble::new(refusal, fix)
}

/// The same of a Phoenix socket.
pub(super) fn of_socket_loss(reason: &LossReason) -> Trouble {
    let status = if let LossReason::Open(error) = reason { error.status } else { None };
    let fix = match status {
        None => of_loss(reason),
        Some(401 | 403) => {
            "check what the socket's connect/3 asks for (--param) and whether its check_origin accepts this client"
        }
        Some(404) => "check the URL's path: it is where the endpoint mounts the socket, such as /socket",
        Some(429) => "wait: the server has too many connections or requests",
        Some(500..=599) => "look into the server's log: it has trouble of its own",
        Some(_) => "check that the URL is that of a Phoenix socket, such as ws://localhost:4000/socket",
    };
    Trouble::new(reason, fix)
}

fn of_loss(reason: &LossReason) -> &'static str {
    match reason {
        LossReason::Open(_) | LossReason::ConnectTimeout => {
            "check that the URL is that of a realtime socket, with wss:// or https:// if the port speaks TLS"
        }
        LossReason::HeartbeatTimeout => "check what is between here and the server: something holds messages back",
        _ => "look into the server's log, and at the time limits of proxies in between",
    }
}

/// What a join that came to nothing means.
pub(super) fn of_join(failure: &SubscribeFailure, private: bool) -> Trouble {
    let fix = match failure {
        SubscribeFailure::Refused(refusal) => of_refusal(refusal, private),
        SubscribeFailure::NoToken(_) => "see that the --token-file has a token that has not expired",
        SubscribeFailure::BindingMismatch(_) => {
            "check --postgres-changes and the server's version: it has answered for other changes than were asked for"
        }
        _ => "look into the project's Realtime log",
    };
    Trouble::new(failure, fix)
}

/// What it means that no database changes flow, which servers say in free words.
pub(super) fn of_postgres(failure: &PostgresFailure) -> Trouble {
    let message = if let PostgresFailure::Refused { message } = failure { message.as_str() } else { "" };
    let says = |word: &str| message.contains(word);
    let fix = if says("filter` params") || says("column") {
        "check FILTER: its column must be the table's, and its value of the column's type"
    } else if says("Unable to subscribe") {
        "check that the table is there and in the publication supabase_realtime, and that the role may SELECT from it"
    } else {
        "try again in a minute, and look at the project's database and Realtime log if it stays"
    };
    Trouble::new(failure, fix)
}

fn of_refusal(refusal: &Refusal, private: bool) -> &'static str {
    match (refusal.class, refusal.code.as_deref()) {
        (RefusalClass::Permanent, Some("PrivateOnly")) => "add --private, or allow public channels in the project",
        (RefusalClass::Permanent, Some("TopicNameRequired")) => "name a channel with --channel",
        (RefusalClass::Permanent, Some("TenantNotFound")) => "check the URL: its host must begin with the project's id",
        (RefusalClass::Permanent, Some("RealtimeDisabledForTenant")) => "enable Realtime for the project",
        (RefusalClass::Permanent, _) => "change the --channel or the options: this join will always be refused",
        (RefusalClass::Auth, Some("Unauthorized") | None) if private => {
            "give the --token of a user whom a SELECT policy on realtime.messages lets into the --channel"
        }
        (RefusalClass::Auth, _) => "give a fresh --token that this project has issued, with `role` and `exp`",
        (RefusalClass::Rate, _) => "wait, or raise the project's limits of channels, joins and connections",
        _ => "try again in a minute, and look at the project's database and Realtime log if it stays",
    }
}

/// What the end of a channel means, given what the server said before.
pub(super) fn of_end(said: Option<&SystemMessage>) -> &'static str {
    match said.and_then(SystemMessage::class) {
        Some(RefusalClass::Auth) => "give a fresh --token of a user who may",
        Some(RefusalClass::Rate) => "wait, or raise the project's limits of messages and presence",
        Some(RefusalClass::Permanent) => "change what is sent: the server will always end the channel for it",
        _ => "look into the project's Realtime log",
    }
}
