//! Requests over HTTP on their way between a client and its project, under virtual time.

use std::collections::BTreeMap;
use std::time::Duration;

use rejoin_core::Timestamp;
use rejoin_core::http::{HttpError, HttpId, HttpRequest, HttpResponse};

use super::lab::target;
use super::project::Project;

/// How long a request takes to its server, and an answer back.
const LATENCY: Duration = Duration::from_millis(10);

/// What lies between a client and its server. Deadlines are kept here, as a host keeps them.
#[derive(Debug, Default)]
pub struct Web {
    /// What the client asked for, with when.
    pub requests: Vec<(Timestamp, HttpRequest)>,
    /// What becomes of requests, if not an answer: an [`HttpError::TimedOut`] takes its time.
    pub failure: Option<HttpError>,
    travelling: BTreeMap<(Timestamp, usize), Step>,
    sent: usize,
}

/// What happens next.
#[derive(Debug)]
pub(super) enum Step {
    /// A request is at the server.
    Arrives(HttpRequest),
    /// The client hears what came of it.
    Answered(HttpId, Result<HttpResponse, HttpError>),
}

impl Web {
    pub(super) fn send(&mut self, now: Timestamp, request: HttpRequest) {
        self.requests.push((now, request.clone()));
        match self.failure.clone() {
            None => self.travel(now, LATENCY, Step::Arrives(request)),
            Some(HttpError::TimedOut) => self.time_out(now, &request, Duration::ZERO),
            Some(error) => self.travel(now, LATENCY * 2, Step::Answered(request.id, Err(error))),
        }
    }

    pub(super) fn arrive(&mut self, now: Timestamp, request: HttpRequest, project: &mut Project) {
        let HttpRequest { id, method, url, headers, body, body_limit, .. } = &request;
        let Some(answer) = project.handle_http(now, method.as_str(), &target(url), headers, body) else {
            return self.time_out(now, &request, LATENCY);
        };
        let answer = match answer.body.len() > *body_limit {
            true => Err(HttpError::TooLarge { limit: *body_limit }),
            false => {
                let mut response = HttpResponse::new(answer.status, answer.body);
                response.retry_after = answer.retry_after.map(Duration::from_secs);
                Ok(response)
            }
        };
        self.travel(now, LATENCY, Step::Answered(*id, answer));
    }

    fn time_out(&mut self, now: Timestamp, request: &HttpRequest, passed: Duration) {
        let left = request.timeout.saturating_sub(passed);
        self.travel(now, left, Step::Answered(request.id, Err(HttpError::TimedOut)));
    }

    fn travel(&mut self, now: Timestamp, time: Duration, step: Step) {
        self.sent += 1;
        self.travelling.insert((now.saturating_add(time), self.sent), step);
    }

    pub(super) fn next(&self) -> Option<Timestamp> {
        self.travelling.keys().next().map(|(at, _)| *at)
    }

    pub(super) fn pop_due(&mut self, now: Timestamp) -> Option<Step> {
        let first = self.travelling.first_entry().filter(|first| first.key().0 <= now)?;
        Some(first.remove())
    }
}
