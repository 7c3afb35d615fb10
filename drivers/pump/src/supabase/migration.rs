//! For users of other clients: each function and option of the Elixir client, of the Clojure client and of
//! realtime-js (with phoenix.js below it), what it is here, and what behaves differently.
//!
//! T and F name the trap or the failure, each with its test in `tests/traceability.md`, that a difference
//! avoids. A dash says that a client has no such thing, and "none" that there is none here. Three things
//! differ everywhere:
//!
//! - **No callbacks.** What happens is read from streams, in order, in your own task: [`Listener`] for a
//!   channel, [`ConnectionEvents`] for the connection, [`Inbox`] for everything (F8, F57, T77).
//! - **Everything sent has one outcome**: awaiting the [`PushTicket`] of a push gives it, and it always
//!   comes (F56). What a program does wrong is a typed error of the call, not a log line.
//! - **What is wanted stays wanted.** A channel, its database changes, its presence and its token come back
//!   after every loss, and [`ChannelEvent::Gap`] says what was missed meanwhile (F6, F30, F33, F51).
//!
//! # Three programs
//!
//! **Chat.** In JavaScript:
//!
//! ```js
//! const room = client.channel('room', { config: { broadcast: { ack: true } } })
//! room.on('broadcast', { event: 'said' }, ({ payload }) => show(payload))
//!   .subscribe(async (status) => {
//!     if (status === 'SUBSCRIBED') await room.send({ type: 'broadcast', event: 'said', payload: { text: 'hello' } })
//!   })
//! ```
//!
//! Here the broadcast may be handed over at once: it waits until the channel is joined.
//!
//! ```
//! # use rejoin_pump::core::Payload;
//! # use rejoin_pump::core::phoenix::PushOutcome;
//! # use rejoin_pump::core::supabase::{Broadcast, ChannelConfig};
//! # use rejoin_pump::supabase::{Client, Typed};
//! #[derive(serde::Deserialize)]
//! struct Said {
//!     text: String,
//! }
//!
//! # async fn chat(client: Client) -> Result<(), Box<dyn std::error::Error>> {
//! let room = client.channel("room", ChannelConfig::default().broadcast_ack())?;
//! let mut said = room.broadcasts::<Said>("said").await?;
//! room.subscribe().await?;
//! let hello = Payload::from_json_text(r#"{"text":"hello"}"#)?;
//! match room.broadcast(Broadcast::new("said", hello)).await?.await? {
//!     PushOutcome::Ok(_) => {}
//!     other => println!("perhaps nobody has heard it: {other:?}"),
//! }
//! while let Some(heard) = said.next().await {
//!     if let Typed::Message(said) = heard {
//!         println!("{}", said.payload.text);
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! **A table, without missing a row.** In JavaScript:
//!
//! ```js
//! client.channel('todos')
//!   .on('postgres_changes', { event: '*', schema: 'public', table: 'todos' }, (change) => apply(change))
//!   .subscribe((status) => { if (status === 'SUBSCRIBED') fetchAll() })
//! ```
//!
//! There, rows that change between `SUBSCRIBED` and the first change that flows are lost (F31). Here the
//! table is read when changes flow, for the first time and after each loss, and whatever flows while it is
//! read waits in the stream.
//!
//! ```
//! # use std::time::Duration;
//! # use rejoin_pump::core::supabase::{ChannelConfig, PostgresBinding, PostgresEvent};
//! # use rejoin_pump::supabase::{ChannelEvent, Client, Typed, TypedChange};
//! #[derive(serde::Deserialize)]
//! struct Todo {
//!     id: i64,
//!     task: String,
//! }
//!
//! # async fn fetch_all() {}
//! # fn apply(change: TypedChange<Todo>) { let _ = change.new.map(|todo| (todo.id, todo.task)); }
//! # async fn watch(client: Client) -> Result<(), Box<dyn std::error::Error>> {
//! let todos = PostgresBinding::new(PostgresEvent::All).table("todos");
//! let channel = client.channel("todos", ChannelConfig::default().postgres_changes(todos.clone()))?;
//! let mut changes = channel.changes::<Todo>(&todos).await?;
//! channel.subscribe().await?;
//! channel.wait_ready(Duration::from_secs(20)).await?; // else it says what is wrong
//! while let Some(heard) = changes.next().await {
//!     match heard {
//!         Typed::Message(change) => apply(change),
//!         Typed::Channel(ChannelEvent::PostgresReady { .. } | ChannelEvent::Lagged { .. }) => fetch_all().await,
//!         _ => {}
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! **Who is online.** In JavaScript:
//!
//! ```js
//! const room = client.channel('room', { config: { presence: { key: 'ann' } } })
//! room.on('presence', { event: 'sync' }, () => show(Object.keys(room.presenceState())))
//!   .subscribe((status) => { if (status === 'SUBSCRIBED') room.track({ away: false }) })
//! ```
//!
//! Here being tracked is a wish that is fulfilled again after each loss.
//!
//! ```
//! # use rejoin_pump::core::Payload;
//! # use rejoin_pump::core::phoenix::PresenceChange;
//! # use rejoin_pump::core::supabase::ChannelConfig;
//! # use rejoin_pump::supabase::{Client, Typed};
//! # async fn online(client: Client) -> Result<(), Box<dyn std::error::Error>> {
//! let room = client.channel("room", ChannelConfig::default().presence("ann"))?;
//! let mut presence = room.presence().await?;
//! room.subscribe().await?;
//! let shown = room.track(Payload::from_json_text(r#"{"away":false}"#)?).await?;
//! println!("{:?}", shown.await?);
//! while let Some(heard) = presence.next().await {
//!     if let Typed::Message(PresenceChange::Sync) = heard {
//!         println!("{:?}", presence.members().map(|(key, _)| key).collect::<Vec<_>>());
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # The client and its options
//!
//! The first thing to know is that the future which a `connect` gives has to be spawned: nothing here
//! has threads or tasks of its own.
//!
//! | Elixir | Clojure | realtime-js | here | what differs, and why |
//! |---|---|---|---|---|
//! | `use Supabase.Realtime`, `start_link` | `connect` | `new RealtimeClient`, `connect` | [`connect_with`], which the runtimes' `connect` and `connect_on` wrap; [`Client::connect`] | It connects at once and comes back on its own; the calls do not wait for a socket. There is no process and no registry to name: a [`Client`] is a value, and any number of them live side by side. |
//! | `:client` | `:client` | `endPoint`, `apikey` | [`Config::for_project`], [`Config::new`] | A typed error where the URL or the key cannot be one, before anything is dialled. |
//! | – | `:url`, `build-ws-url` | `endpointURL` | [`Endpoint::url`] | Parameters are percent-encoded, whatever is in them (T88). The key is left out of what [`Config`] shows, and sent when the connection is opened (F47, T75). |
//! | `:params` | `:params` | `params` | [`phoenix::Config::params`] | They override neither the key nor `vsn`. |
//! | `:name` | – | – | none | Clone the [`Client`]. |
//! | `:timeout` | – | `timeout` | [`connect_timeout`](phoenix::Config::connect_timeout), [`join_timeout`](phoenix::Config::join_timeout), [`push_timeout`](phoenix::Config::push_timeout), [`leave_timeout`](phoenix::Config::leave_timeout) | One for each purpose. A join has 15 s from when its frame is sent, for servers tell a refusal after 5 s (F27, T2). Elixir's is not used at all. |
//! | `:heartbeat_interval` | `:heartbeat-ms`, `:heartbeat` | `heartbeatIntervalMs` | [`phoenix::Config::heartbeat_interval`] | 25 s. An unanswered one is the end of the connection after [`heartbeat_timeout`](phoenix::Config::heartbeat_timeout), and neither traffic nor slow readers postpone it (F1, F14, F58). The Clojure client ignores the answers. |
//! | – | – | `heartbeatCallback`, `onHeartbeat` | [`ConnectionEvent::Heartbeat`] | With the round trip. |
//! | – | – | `sendHeartbeat`, `ping` | [`Client::probe`] | It is also what to call when the host wakes up or changes its network (F3). |
//! | – | – | `vsn` | [`phoenix::Config::serializer`] | 2.0.0 as in realtime-js; the other two clients speak 1.0.0, which cannot carry bytes. |
//! | – | – | `transport`, `WebSocketFactory` | [`Runtime`], [`Transport`](phoenix::Transport) | The runtime's crate brings the sockets; what a message travels by is data. |
//! | – | `:transport-factory`, `ws-transport`, `send-text`, `close!` | – | [`Runtime`]; [`memory`] in tests | Below it is a state machine without a socket, [`Session`]. |
//! | – | `:handlers`, `:on-open`, `:on-text`, `:on-close` | – | [`TransportEvent`] | What a socket does is told to the machine as a value. Words of a connection that was given up change nothing (F2, T24); a text is told when it is whole (T81). |
//! | – | – | `headers` | [`phoenix::Config::headers`] | Not deprecated, as there is no browser to forbid them. `x-client-info` is added; `authorization` only with [`Config::authorization`], for servers ignore it there and refuse long ones (F48). |
//! | – | – | `logLevel`, `log_level` | [`Config::log_level`] | It is about the server's log. A type, for servers take other words, `warn` among them, for `error` (T83). |
//! | – | – | `fetch` | [`Runtime::dial`] | HTTP goes over the same runtime; with a [`Session`] of one's own, requests are data ([`Request::Http`](supabase::Request::Http)). |
//! | – | – | `worker`, `workerUrl` | none | They keep the timers of a browser's hidden tab going. A suspended host is noticed when it wakes: one check, no burst of timers (F3, T8). |
//! | – | – | `disconnectOnEmptyChannelsAfterMs` | [`Config::disconnect_when_empty`] | The same two heartbeats; `None` keeps the connection. |
//! | – | – | `sessionStorage` | [`phoenix::Config::fallback_memory`] | That long-poll was needed is a value, [`Session::transport`], that the host may keep; nothing is stored behind its back (F61). |
//! | – | – | `binaryType` | none | Bytes are bytes: [`Payload::as_bytes`]. |
//! | `connection_state`, `Connection.state`: `:connecting`, `:open`, `:closing`, `:closed` | `:state`: `:open`, `:closed`, `:errored` | `connectionState`, `isConnected`, `isConnecting`, `isDisconnecting` | [`Client::state`] | Asked of the machine itself, never a copy that went stale (F1). After [`Client::disconnect`] it is idle at once, though the socket may still be closing. |
//! | `:connection` in `handle_event` | – | `onOpen`, `onClose` | [`Client::connection_events`] | Each loss with its reason and with when the next attempt is made. |
//! | – | `:on-error` | `onError` | [`ConnectionEvent::Disconnected`], [`ChannelEvent::SubscribeFailed`], [`ChannelEvent::Errored`] | No error of all kinds: each says what failed and when it is tried again (F17). What a call did wrong is its own `Err`. |
//! | – | `disconnect` | `disconnect` | [`Client::disconnect`], [`Client::close`] | Neither is followed by another attempt (F5). The first keeps the channels for the next [`Client::connect`]; the second ends everything. The code is always 1000, and there is no reason to give. |
//! | `remove_all_channels` | – | `removeAllChannels` | [`Client::remove_all`] | Handles may subscribe again, which connects again. |
//! | `list_channels` | – | `getChannels` | [`Client::channels`] | Topics and states. |
//! | `fetch_channel_registry`, `fetch_connection` | – | – | none | There are no processes to look up. |
//! | – | – | `log`, `logger`, `hasLogger`, `debug`, `onMessage`; kinds `transport`, `push`, `receive`, `channel`, `error`, `worker` | [`Tap`], [`ConnectOptions::tap`] | It sees each dial, frame and end as a value; what goes wrong is an event. A tap may not change messages. Frames carry credentials, and what is shown by `Debug` here does not (F47). |
//!
//! # Coming back
//!
//! | Elixir | Clojure | realtime-js | here | what differs, and why |
//! |---|---|---|---|---|
//! | – | `:auto-reconnect?` | – | [`phoenix::Config::auto_reconnect`] | On, as there. It may also be off for some ends alone: codes and statuses in [`stop_codes`](phoenix::Config::stop_codes) and [`stop_statuses`](phoenix::Config::stop_statuses). |
//! | `:reconnect_after_ms` | `:reconnect-after-ms`, `:reconnect-exec` | `reconnectAfterMs` | [`phoenix::Config::reconnect`] | Data instead of a closure, so that it can be compared and printed; [`Backoff::sampled`] takes a function. 1, 2, 4, 8, 10 s, as the Elixir client says and does not do (T26), spread by [`jitter`](phoenix::Config::jitter) so that clients do not come back in one second (F12). The steps start again after proof of life, not at the mere opening (F13, T25). |
//! | – | `:max-reconnect-attempts`, `:reconnect-exhausted` | – | [`phoenix::Config::max_attempts`] | Unlimited unless told; the end is said once, [`ConnectionEvent::GaveUp`] (F16). |
//! | – | – | `rejoinAfterMs` | [`phoenix::Config::rejoin`] | 1, 2, 5, 10 s with jitter, where a refusal is of the kind that passes. One for good is not tried again, one for rates waits 30 s, one for a token waits for another (F29, T33). |
//! | – | – | – | [`phoenix::Limits::joins_in_flight`], [`joins_per_second`](phoenix::Limits::joins_per_second) | Joins leave in pace: a server answers nothing else while it works on one, and closes the socket for too many (F28, T1, T32). |
//! | – | – | `longPollFallbackMs` | [`Transport::Auto`](phoenix::Transport::Auto) | Off by default, as there. A server that is down sends nobody to long-poll for good (F61). |
//! | – | – | `replaceTransport`, `getLongPollTransport` | [`phoenix::Config::transport`] | Chosen before connecting; afterwards the machine decides, with one transport at a time (F61). |
//! | – | – | `longpollerTimeout` | none | An exchange has 20 s, twice what a server holds a poll. |
//!
//! # Who one is
//!
//! | Elixir | Clojure | realtime-js | here | what differs, and why |
//! |---|---|---|---|---|
//! | `:access_token_fn` | `:access-token-fn` | `accessToken` | [`ConnectOptions::token_provider`] | Asked before a token expires, when the server refuses one, and at first: joins wait for it, and are never silently anonymous (F42, F44). Where it fails, the token in force stays until it expires, and the API key does not step in for it (F45). [`ChannelConfig::anonymous`] is for who wants that. |
//! | `set_auth` | `set-auth` | `setAuth` | [`Client::set_auth`] | For later joins too, which those of Elixir and Clojure forget (F45, T69); told to joined channels once, and not with each heartbeat (F46, T74). An expired one is an error (T73). With a provider it counts until that is asked next (T72). Signing out is [`Client::clear_auth`] (T71). |
//! | `set_auth/2` | `set-auth ch token` | – | [`Channel::set_auth`] | As long as the channel is subscribed, through every loss. |
//! | `Message.access_token` | `access-token-frame` | – | [`Client::set_auth`] | Servers never answer it, so that it has no outcome (T68); a refusal is the end of the channel, with its reason. |
//! | – | – | `authToken` | [`phoenix::Config::auth_token`] | Phoenix's own, which Supabase does not use. |
//!
//! # Channels
//!
//! | Elixir | Clojure | realtime-js | here | what differs, and why |
//! |---|---|---|---|---|
//! | `channel` | `channel` | `channel` | [`Client::channel`] | A handle, and nothing is sent. The topic goes with or without `realtime:`, once (T80). A second handle with another configuration is [`SubscribeError::ConfigDiffers`] when it subscribes; the others ignore the second configuration without a word. |
//! | `private` | `:private` | `private` | [`ChannelConfig::private`] | After the user has signed out it waits for a token, and is not joined as the API key's role (F50). |
//! | `:timeout` of a channel | – | `subscribe(cb, timeout)` | [`ChannelConfig::join_timeout`], [`phoenix::Config::join_timeout`] | From when the join is sent, not from the call (T28); how long to wait for a channel is told to [`Channel::wait_ready`]. |
//! | `:params` of a channel | `:config` | `params` | [`ChannelConfig`] | Typed, and checked by [`ChannelConfig::check`]: what a server would refuse or ignore is an error before anything is sent. |
//! | `:ref` | – | – | none | Refs are the session's, and never used twice (F62, T16). |
//! | `on` | `on` | `on` | [`ChannelConfig`] for what the server is asked for; [`Channel::listen`], [`broadcasts`](Channel::broadcasts), [`changes`](Channel::changes), [`presence`](Channel::presence) for what is heard | The server learns what one wants when the channel is joined, so that this is settled before: an `on` that comes too late cannot be written (F26). Listeners come and go at any time. Nothing joins by itself, as it does in Elixir: [`Channel::subscribe`]. |
//! | – | – | `off`, `channel.off` | [`Listener`]: drop it | The channel stays subscribed. |
//! | – | – | `channel.on` | [`Listen::event`] | For messages of any other event; `*` is everything. |
//! | `handle_event` | callbacks of `on` | callbacks of `on` | [`Listener::next`] | In order, which tasks spawned for each event in Elixir are not; a panic or an exception of yours stays yours (F57). |
//! | – | `subscribe` | `subscribe` | [`Channel::subscribe`], [`Channel::wait_ready`] | Twice is fine, and so is again after unsubscribing, which throws in JavaScript (F18, T79). Offline, the time for the join does not run (T28). |
//! | – | – | `SUBSCRIBED`, `TIMED_OUT`, `CLOSED`, `CHANNEL_ERROR` | [`ChannelEvent::Subscribed`], [`ChannelEvent::SubscribeFailed`], [`ChannelEvent::Closed`], [`ChannelEvent::Errored`] | With the reason, and with when it is tried again (F7, F17). |
//! | – | `:join-failed`, `:channel-error` | – | [`ChannelEvent::SubscribeFailed`], [`ChannelEvent::Errored`] | The same. |
//! | `unsubscribe` | `unsubscribe` | `unsubscribe`, `removeChannel`, `channel.leave` | [`Channel::unsubscribe`] | Every ending of the leave ends it, an error reply too; one `Closed` for each subscription (F8). Other handles of the topic stay in. |
//! | – | – | `teardown` | [`Channel`]: drop the last clone | It unsubscribes, too. |
//! | – | – | `channel.join` | [`Channel::subscribe`] | On a plain Phoenix server, [`crate::Client::join`]. |
//! | `Channel.joined?`, `Channel.joining?`, `Channel.leaving?`, `Channel.closed?`, `Channel.errored?` | `channel-state` | `state` | [`Channel::state`] | `None` is a channel that this handle is not subscribed to; waiting for a token has a state of its own. |
//! | `Channel.can_push?` | – | – | none | While one is subscribed one may push at any time: it waits for the channel, and its ticket says how it ended. |
//! | – | `realtime-topic` | `topic`, `subTopic` | [`Channel::topic`], [`topic_of`] | With its `realtime:`; there is no other form to confuse it with. |
//! | – | – | `bindings` | [`Channel::config`] | As it was configured. |
//! | – | – | `copyBindings` | [`ChannelConfig`]: clone it | It is a value. |
//! | – | – | `updateJoinPayload` | [`crate::Channel::set_join_payload`] | Of plain Phoenix. A Supabase join is rebuilt from its configuration and the newest token each time (F33, T29); another configuration is another subscription. |
//! | – | – | `channel.onClose`, `channel.onError` | [`ChannelEvent::Closed`], [`ChannelEvent::Errored`] | Every listener hears them, whatever it listens for. |
//! | – | – | `channel.onMessage` | none | A hook that changes each message has no place; a reader of yours may. |
//! | `Channel.new`, `Channel.update_state`, `Channel.set_join_ref`, `Channel.add_binding`, `Channel.remove_binding` | `upsert-channel!`, `update-channel!`, `add-binding!`, `remove-channel!` | – | none | A channel's state is the session's, in one place, and nobody else changes it (F6, F22). |
//! | `Store.insert`, `Store.update`, `Store.update_state`, `Store.update_join_ref`, `Store.add_binding`, `Store.remove_binding`, `Store.remove` | – | – | none | The same; one named table for a whole machine would allow one client in it. |
//! | `Store.find_by_ref`, `Store.find_by_topic`, `Store.find_by_join_ref`, `Store.find_all_by_topic`, `Store.all` | – | – | [`Client::channels`], [`Channel::state`] | Refs are nobody else's business. |
//!
//! # Broadcast
//!
//! | Elixir | Clojure | realtime-js | here | what differs, and why |
//! |---|---|---|---|---|
//! | `broadcast`, `send`, `send_message` | `broadcast` | `send` | [`Channel::broadcast`] | Until the channel is joined it waits, and it does not go over HTTP unless told to (F36). |
//! | the send buffer of 100, which drops its oldest | the buffer of a channel | the push buffer of 100, which drops its oldest | [`phoenix::Limits::push_buffer`], [`send_buffer`](phoenix::Limits::send_buffer), [`overflow`](phoenix::Limits::overflow) | 100 for each channel and 100 in all, sent in order when the channel is joined. What finds no room is an error; or choose [`Overflow::DropOldest`](phoenix::Overflow::DropOldest), where the one that is dropped says so (F35, T59). |
//! | `send` of other events | – | `push`, `channel.push` | [`Channel::push`] | Its reply is the ticket's answer. A message belongs to a channel, so that the client itself has no `push`. |
//! | `self` | `:self` | `self` | [`ChannelConfig::broadcast_self`] | The same. |
//! | `ack` | `:ack` | `ack` | [`ChannelConfig::broadcast_ack`] | The same. |
//! | `send_message_with_ack`, `broadcast_with_ack` | `broadcast-with-ack` | `ack` of `send` | [`Broadcast::with_ack`] | On a channel without `ack` it is an error at once, for no answer would ever come (T53). Elixir's waits for a ref that was never sent. |
//! | `wait_for_ack` | `wait-for-ack` | the promise of `send` | [`PushTicket`]: await it | [`PushOutcome`](phoenix::PushOutcome) tells accepted, refused, too late, never sent and unknown apart. |
//! | – | `:timeout-ms` | – | [`Broadcast::timeout`] | From when it is handed over, waiting included. |
//! | – | `:acknowledged`, `:ack-timeout`, `:ack-not-found` | `ok`, `error`, `timed out` | [`PushOutcome`](phoenix::PushOutcome) | `Ok` means accepted and not delivered. A private channel without the permission to write says nothing, which ends as `TimedOut` (T54). |
//! | `Channel.add_pending_ack`, `Channel.remove_pending_ack`, `Channel.get_ack_caller`, `Channel.ack_enabled?` | – | – | [`PushTicket`] | Who waits is remembered by nobody else, and for no longer than the deadline (T17). |
//! | `Store.add_pending_ack`, `Store.handle_ack_received`, `Store.handle_ack_timeout` | – | – | [`PushTicket`] | The same. |
//! | `:broadcast` in `handle_event` | `:broadcast` | `broadcast` | [`Channel::broadcasts`], [`Listen::broadcast`] | Events are compared exactly, as in Elixir and Clojure; `*` is every one. A payload that is not what it claims to be is [`Typed::Unreadable`], and costs nothing else (T52, T89). |
//! | – | – | `persist` | [`Broadcast::persist`] | On private channels; elsewhere an error instead of a server that ignores it. |
//! | `replay`, `since`, `limit` | – | `replay`, `since`, `limit` | [`ChannelConfig::replay`] | `since` is milliseconds by its type (T58), where Elixir's documentation says seconds. On a public channel it is an error. What comes twice is heard once, and a rejoin asks only for what is new (F30, T57). |
//! | – | – | – | [`Broadcast::resend_on_reconnect`] | Sent again where a loss left its outcome open, if you ask for that. |
//!
//! # HTTP
//!
//! | Elixir | Clojure | realtime-js | here | what differs, and why |
//! |---|---|---|---|---|
//! | `:http_fallback` | `:http-fallback?` | the fallback of `send` | [`Config::http_fallback`], [`Broadcast::http_fallback`] | Off unless chosen, also where realtime-js always does it, and told by [`ChannelEvent::FellBackToHttp`] (F36). The topic goes without its prefix and with its `private` flag; those of Elixir and Clojure reach nobody (T55). |
//! | `HTTP.broadcast` | – | `httpSend` | [`Channel::http_broadcast`], [`Client::http_broadcast`], [`Client::http_broadcast_batch`] | Its [`HttpTicket`] says accepted, refused and why, or that nobody knows. Without a token there is no empty `Authorization` (F37, T56). |
//!
//! # Rows
//!
//! | Elixir | Clojure | realtime-js | here | what differs, and why |
//! |---|---|---|---|---|
//! | `postgres_changes` | `:postgres-changes` | `postgres_changes` | [`ChannelConfig::postgres_changes`], then [`Channel::changes`] | Equal bindings are asked for once and heard by every listener, once for each change (F24, T36, T39). What the server answers is compared, and a difference is told with both sides and not tried for ever (F25). |
//! | `event`, `:all` | `:event`, `:all`, `:insert`, `:update`, `:delete` | `event`, `*` | [`PostgresEvent`] | Clojure's `:all` comes out as a word that the server takes for `*`. |
//! | `schema`, `table`, `filter` | `:schema`, `:table`, `:filter` | `schema`, `table`, `filter`, `select` | [`PostgresBinding`] | A filter or a choice of columns without a table is an error. |
//! | – | – | `postgresChangesFilter` | [`PostgresFilter`] | The same operators, each value quoted where it has to be, and an error that says what is wrong with one (T46). |
//! | `PostgresTypes.transform` | – | column conversion | [`convert_record`], [`PostgresChange::record`] | Servers send JSON, which is read as your own type, with `int8` and `numeric` as exact as that type (F41, T43). The conversion is for servers that sent texts, and reads array literals for what they are (T44). |
//! | `:postgres_changes` in `handle_event` | – | `new`, `old`, `eventType`, `errors`, `commit_timestamp` | [`TypedChange`], [`PostgresChange::details`] | A row that is not there is `None` and not `{}`. What a server could not read is said by `errors`, and missing large values by [`truncated`](PostgresChange::truncated) (F39, F40, T42). |
//! | – | – | `system` | [`ChannelEvent::PostgresReady`], [`ChannelEvent::PostgresFailed`], [`Listen::system`] | Joined is not yet flowing: [`Channel::wait_ready`] waits for both, and says what the server says against it (F31, F32, T41). |
//! | – | – | `postgres_changes_options` | [`ChannelConfig::postgres_wait`] | The same, with the join's time stretched accordingly. |
//!
//! # Presence
//!
//! | Elixir | Clojure | realtime-js | here | what differs, and why |
//! |---|---|---|---|---|
//! | `presence`, `key` | `:presence`, `:key` | `presence`, `key`, `enabled` | [`ChannelConfig::presence`] | Asked for, and not switched on by a listener; without it `track` and [`Channel::presence`] are errors, for nobody here would see anybody (F54). |
//! | `track` | `track` | `track` | [`Channel::track`] | A wish: after each loss it is tracked again, where the others vanish (F51, T65). No more than servers allow leave, and the last one wins (F55). Its ticket always ends: shown, overtaken by a later wish, refused or dropped (F56). |
//! | `untrack` | `untrack` | `untrack` | [`Channel::untrack`] | The same. |
//! | `presence_state` | `presence-state` | `presenceState`, `RealtimePresence`, `Presence.list` | [`Channel::presence_state`], [`PresenceStream::members`] | For each channel, where Elixir has one map for all. |
//! | `:join`, `:leave`, `:sync` | `:join`, `:leave`, `:sync` | `join`, `leave`, `sync` | [`PresenceChange`](phoenix::PresenceChange) | An update is an `Update` and not a leave and a join (F52, T61). A key with one connection less stays, unlike in Elixir and Clojure (T62); who left during a loss leaves with the next state (F53, T92). |
//! | – | – | `presence_ref` | [`Meta::phx_ref`](phoenix::Meta::phx_ref) | By its name on the wire. |
//! | – | – | `Presence.syncState`, `Presence.syncDiff` | [`phoenix::Presence::state`], [`phoenix::Presence::diff`] | For plain Phoenix, where a state and its diffs are messages that you feed it. |
//!
//! # Frames and errors
//!
//! | Elixir | Clojure | realtime-js | here | what differs, and why |
//! |---|---|---|---|---|
//! | `Message.encode`, `Message.decode` | `encode`, `parse-frame` | `encode`, `decode` | [`Serializer`](wire::Serializer) | Both versions, texts and bytes; nothing that a peer sends makes it panic, and a bad frame costs nothing but itself (T89). It cannot be replaced. |
//! | `Message.subscription`, `Message.unsubscribe`, `Message.heartbeat` | `join-frame`, `leave-frame`, `heartbeat-frame` | – | none | Only a session knows their refs. [`wire::Message::new`] makes any message for tests and servers. |
//! | `Message.broadcast`, `Message.broadcast_with_ack` | `broadcast-frame` | – | [`Broadcast`] | What to send; the frame is made when it leaves. |
//! | `Message.presence_track`, `Message.presence_untrack` | `presence-track-frame`, `presence-untrack-frame` | – | [`Channel::track`], [`Channel::untrack`] | The same. |
//! | – | `ref-counter`, `next-ref` | – | none | Refs rise with each frame that leaves, a repeated one among them (F62). |
//! | – | `enqueue!` | – | [`PushTicket::state`] | Whether it waits, is sent, or goes over HTTP. |
//! | – | `dispatch-frame` | – | [`Machine::handle_transport`] | What follows is in the lanes of the machine: frames to send, events to read. |
//! | – | `event-kind`: `phx-reply`, `phx-close`, `phx-error`, `postgres-changes`, `broadcast`, `presence-state`, `presence-diff`, `system`, `heartbeat-reply`, `unknown` | – | [`Event`](supabase::Event) | What a frame means depends on the state of its channel, so that only a session says it. `system` and unknown events are told, which the Clojure client ignores (F32, T85); what belongs to no lifetime is counted in [`Client::stats`] (T12, T18). |
//! | `Error`, `reason`, `message`, `context` | anomalies | `Error` | [`SubscribeError`], [`PushFailed`](crate::PushFailed) and others, one for each kind of call | With a `Display` that says what to do; none of them repeats a key or a token (F47). |
//! | – | `ConnectOpts`, `ChannelOpts`, `PostgresFilter`, `BroadcastFilter`, `PresenceFilter`, `BindingType`, `ensure-valid`, `ensure-filter` | the types of TypeScript | [`ConfigError`], [`FilterError`], [`SupabaseConfigError`] | Most of it cannot be written wrongly; the rest is checked before it is sent. What servers send is checked as well. |
//! | – | – | `REALTIME_LISTEN_TYPES`, `REALTIME_POSTGRES_CHANGES_LISTEN_EVENT`, `REALTIME_PRESENCE_LISTEN_EVENTS` | [`Listen`], [`PostgresEvent`], [`PresenceChange`](phoenix::PresenceChange) | Types instead of texts. |
//! | – | – | `REALTIME_SUBSCRIBE_STATES`, `REALTIME_CHANNEL_STATES` | [`ChannelEvent`], [`ChannelState`] | The same. |

#[cfg(doc)]
use {
    super::{
        Channel, ChannelEvent, Client, ConnectOptions, ConnectionEvent, ConnectionEvents, HttpTicket, Inbox, Listen,
        Listener, PresenceStream, SubscribeError, Typed, TypedChange, connect_with,
    },
    crate::{PushTicket, Runtime, Tap, memory},
    rejoin_core::phoenix::Endpoint,
    rejoin_core::supabase::{
        Broadcast, ChannelConfig, ChannelState, Config, ConfigError, FilterError, PostgresBinding, PostgresChange,
        PostgresEvent, PostgresFilter, Session, SupabaseConfigError, convert_record, topic_of,
    },
    rejoin_core::{Backoff, Machine, Payload, TransportEvent, phoenix, supabase, wire},
};
