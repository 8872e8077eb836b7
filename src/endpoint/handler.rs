//! What an endpoint runs on its workers.

use crate::worker::{Cx, Event, Message, ReplyWriter, Request, status};

/// Whether a handler took what it was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is done with it.
    Yes,
    /// It goes to the endpoint's queue, to be read by [`Endpoint::messages`](super::Endpoint::messages).
    No,
}

/// Runs on a worker, in place, on bytes in the receive buffer: to completion, and short. One handler
/// serves one worker, so it needs no lock. One that panics hurts nobody but its caller.
pub trait Handler: 'static {
    /// A call came: answer it through `reply`, now or later.
    fn on_request(&mut self, request: Request<'_>, reply: &mut ReplyWriter<'_>) {
        let _ = request;
        reply.fail(status::NO_SUCH_METHOD, b"this endpoint serves no calls");
    }

    /// Whether a call of `method` goes to [`Endpoint::requests`](super::Endpoint::requests) instead.
    fn queues(&self, method: u32) -> bool {
        let _ = method;
        false
    }

    /// A one-way message came.
    fn on_message(&mut self, cx: &mut Cx<'_>, message: Message<'_>) -> Taken {
        let _ = (cx, message);
        Taken::No
    }

    /// A datagram came.
    fn on_datagram(&mut self, cx: &mut Cx<'_>, datagram: Message<'_>) -> Taken {
        let _ = (cx, datagram);
        Taken::No
    }

    /// Something happened to a session. It is also told to handles.
    fn on_event(&mut self, cx: &mut Cx<'_>, event: Event) {
        let _ = (cx, event);
    }
}

/// Serves nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Nothing;

impl Handler for Nothing {}

/// Leaves every call to the queue.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Queued;

impl Handler for Queued {
    fn queues(&self, _method: u32) -> bool {
        true
    }
}

/// Serves every call by one function.
pub(super) struct Serve<F>(pub(super) F);

impl<F> Handler for Serve<F>
where
    F: FnMut(Request<'_>, &mut ReplyWriter<'_>) + 'static,
{
    fn on_request(&mut self, request: Request<'_>, reply: &mut ReplyWriter<'_>) {
        (self.0)(request, reply);
    }
}
