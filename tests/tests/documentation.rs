//! What the documentation promises to cover, it covers.

use std::collections::BTreeSet;

/// What is about success, about a message, or about the end that the application itself asked for.
const NO_TROUBLE: [&str; 14] = [
    "Connected",
    "Heartbeat",
    "Subscribed",
    "Broadcast",
    "PostgresChange",
    "Presence",
    "System",
    "Message",
    "PushSent",
    "HttpDone",
    "TokenRefreshed",
    "Closed",
    // These two are about this very host or peer, and nothing comes back from them.
    "Malformed",
    "Lagged",
];

/// Row 63 of the failure modes.
#[test]
fn every_event_about_a_trouble_is_in_the_table_of_what_comes_back() {
    let events = include_str!("../../core/src/supabase/event.rs");
    let (_, rest) = events.split_once("pub enum Event {").expect("the events");
    let (variants, _) = rest.split_once("\n}").expect("their end");
    let names = variants.lines().filter_map(|line| {
        let name = line.strip_prefix("    ")?.split([' ', '(', ',']).next()?;
        name.starts_with(|first: char| first.is_ascii_uppercase()).then_some(name)
    });
    let names: Vec<_> = names.collect();
    assert!(names.len() > 20 && NO_TROUBLE.iter().all(|name| names.contains(name)), "{names:?}");

    let docs = include_str!("../../core/src/supabase/mod.rs");
    let table: String = docs.lines().filter(|line| line.starts_with("//! |")).collect();
    for name in names.into_iter().filter(|name| !NO_TROUBLE.contains(name)) {
        assert!(table.contains(&format!("`{name}")), "{name} is not in the table");
    }
}

/// What the clients have that people come from: the lists of the specification's sections 11.2, 11.1 and 11.3.
const ELIXIR: &str = "use Supabase.Realtime, start_link, :client, :name, :timeout, :heartbeat_interval, \
    :reconnect_after_ms, :http_fallback, :access_token_fn, :params, channel, :ref, self, ack, replay, since, limit, \
    presence, key, private, on, postgres_changes, event, :all, schema, table, filter, send, send_message, \
    send_message_with_ack, broadcast_with_ack, wait_for_ack, broadcast, track, untrack, presence_state, set_auth, \
    set_auth/2, unsubscribe, remove_all_channels, list_channels, connection_state, Connection.state, :connecting, \
    :open, :closing, :closed, fetch_channel_registry, fetch_connection, handle_event, :postgres_changes, :broadcast, \
    :join, :leave, :sync, :connection, Channel.new, Channel.update_state, Channel.set_join_ref, Channel.add_binding, \
    Channel.remove_binding, Channel.joined?, Channel.joining?, Channel.leaving?, Channel.closed?, Channel.errored?, \
    Channel.can_push?, Channel.add_pending_ack, Channel.remove_pending_ack, Channel.get_ack_caller, \
    Channel.ack_enabled?, Store.insert, Store.update, Store.update_state, Store.update_join_ref, Store.add_binding, \
    Store.remove_binding, Store.remove, Store.find_by_ref, Store.find_by_topic, Store.find_by_join_ref, \
    Store.find_all_by_topic, Store.all, Store.add_pending_ack, Store.handle_ack_received, Store.handle_ack_timeout, \
    Message.encode, Message.decode, Message.subscription, Message.unsubscribe, Message.broadcast, \
    Message.broadcast_with_ack, Message.access_token, Message.heartbeat, Message.presence_track, \
    Message.presence_untrack, HTTP.broadcast, Error, reason, message, context, PostgresTypes.transform";
const CLOJURE: &str = "connect, :client, :state, :on-error, :url, :handlers, :heartbeat, :reconnect-exec, :heartbeat-ms, \
    :params, :transport-factory, :on-open, :on-text, :on-close, :auto-reconnect?, :reconnect-after-ms, \
    :max-reconnect-attempts, :reconnect-exhausted, :errored, :access-token-fn, :http-fallback?, disconnect, :closed, \
    channel, :config, :broadcast, :self, :ack, :presence, :key, :private, on, :postgres-changes, :event, :insert, \
    :update, :delete, :all, :schema, :table, :filter, :sync, :join, :leave, subscribe, unsubscribe, broadcast, \
    broadcast-with-ack, wait-for-ack, :timeout-ms, :acknowledged, :ack-timeout, :ack-not-found, track, untrack, \
    presence-state, set-auth, set-auth ch token, :join-failed, :channel-error, build-ws-url, enqueue!, \
    upsert-channel!, update-channel!, channel-state, add-binding!, remove-channel!, dispatch-frame, phx-reply, \
    phx-close, phx-error, postgres-changes, presence-state, presence-diff, system, heartbeat-reply, unknown, \
    event-kind, encode, parse-frame, realtime-topic, ref-counter, next-ref, join-frame, leave-frame, \
    heartbeat-frame, broadcast-frame, presence-track-frame, presence-untrack-frame, access-token-frame, send-text, \
    close!, ws-transport, ConnectOpts, ChannelOpts, PostgresFilter, BroadcastFilter, PresenceFilter, BindingType, \
    ensure-valid, ensure-filter";
const REALTIME_JS: &str = "new RealtimeClient, transport, timeout, heartbeatIntervalMs, heartbeatCallback, vsn, \
    logger, encode, decode, reconnectAfterMs, headers, params, apikey, logLevel, log_level, fetch, worker, workerUrl, \
    accessToken, disconnectOnEmptyChannelsAfterMs, sessionStorage, connect, endpointURL, disconnect, getChannels, \
    channel, removeChannel, removeAllChannels, log, hasLogger, connectionState, isConnected, isConnecting, \
    isDisconnecting, push, setAuth, sendHeartbeat, onHeartbeat, receive, error, subscribe, SUBSCRIBED, TIMED_OUT, \
    CLOSED, CHANNEL_ERROR, unsubscribe, on, off, send, httpSend, track, untrack, presenceState, updateJoinPayload, \
    copyBindings, teardown, state, topic, subTopic, bindings, private, self, ack, replay, since, limit, persist, \
    presence, key, enabled, broadcast, postgres_changes, postgres_changes_options, event, schema, table, filter, \
    select, new, old, eventType, errors, commit_timestamp, system, join, leave, sync, presence_ref, \
    postgresChangesFilter, RealtimePresence, WebSocketFactory, REALTIME_LISTEN_TYPES, \
    REALTIME_POSTGRES_CHANGES_LISTEN_EVENT, REALTIME_PRESENCE_LISTEN_EVENTS, REALTIME_SUBSCRIBE_STATES, \
    REALTIME_CHANNEL_STATES, onOpen, onClose, onError, onMessage, ping, replaceTransport, getLongPollTransport, \
    channel.on, channel.off, channel.onClose, channel.onError, channel.onMessage, channel.push, channel.leave, \
    channel.join, Presence.list, Presence.syncState, Presence.syncDiff, rejoinAfterMs, longPollFallbackMs, \
    longpollerTimeout, binaryType, authToken, debug";

#[test]
fn every_function_and_option_of_the_other_clients_is_in_the_tables_for_their_users() {
    let docs = include_str!("../../drivers/pump/src/supabase/migration.rs");
    let rows = docs.lines().filter_map(|line| line.strip_prefix("//! | ")?.strip_suffix(" |"));
    let rows = rows.map(|row| row.split(" | ").collect::<Vec<_>>()).filter(|row| row[0] != "Elixir");
    let rows: Vec<_> = rows.collect();
    for row in &rows {
        let [_, _, _, here, differs] = row[..] else { panic!("not a row: {row:?}") };
        assert!(here.starts_with("none") || here.contains("[`"), "where is it? {row:?}");
        assert!(differs.ends_with('.'), "what differs? {row:?}");
    }
    for (column, names) in [ELIXIR, CLOJURE, REALTIME_JS].into_iter().enumerate() {
        let named: BTreeSet<_> = rows.iter().flat_map(|row| row[column].split('`').skip(1).step_by(2)).collect();
        let missing: Vec<_> = names.split(", ").filter(|name| !named.contains(name)).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
