//! Which handler answers which method.

use std::fmt;

use rustc_hash::FxHashMap;
use thiserror::Error;

use super::{MethodId, method_id, status};
use crate::endpoint::Handler;
use crate::worker::{ReplyWriter, Request};

type Inline = Box<dyn FnMut(Request<'_>, &mut ReplyWriter<'_>)>;

/// Handlers by method, for one worker: each runs in place. A call of a method that nobody serves fails
/// with [`status::NO_SUCH_METHOD`].
///
/// ```
/// use ringwire::endpoint::Endpoint;
/// use ringwire::rpc::{Router, method_id};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = Endpoint::builder().bind("127.0.0.1:0".parse()?).handler(|_worker| {
///     let mut calls = 0u64; // this worker's own: no lock
///     Router::new().serve("Counter/Next", move |_request, reply| {
///         calls += 1;
///         reply.send(&calls.to_le_bytes());
///     })
/// });
/// let server = server.start()?;
/// let client = Endpoint::builder().start()?;
/// let peer = client.connect(server.local_addr()).wait()?;
/// let next = peer.call(method_id("Counter/Next"), "").wait().expect("a number");
/// assert_eq!(next, 1u64.to_le_bytes().as_slice());
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
pub struct Router {
    methods: FxHashMap<MethodId, Method>,
}

struct Method {
    name: String,
    inline: Option<Inline>,
}

/// Two methods with one number.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("'{name}' and '{other}' have one number, {number:#010x}: rename one of them")]
pub struct DuplicateMethod {
    /// The later one.
    pub name: String,
    /// The one that was there.
    pub other: String,
    /// Their number.
    pub number: MethodId,
}

impl Router {
    /// A router that serves nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Serves method `name` in place.
    ///
    /// # Panics
    /// When `name` has the number of another method: see [`Router::try_serve`].
    #[must_use]
    pub fn serve(self, name: &str, handler: impl FnMut(Request<'_>, &mut ReplyWriter<'_>) + 'static) -> Self {
        self.try_serve(name, handler).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Serves method `name` in place.
    ///
    /// # Errors
    /// [`DuplicateMethod`].
    pub fn try_serve(
        self,
        name: &str,
        handler: impl FnMut(Request<'_>, &mut ReplyWriter<'_>) + 'static,
    ) -> Result<Self, DuplicateMethod> {
        self.insert(name, Some(Box::new(handler)))
    }

    /// Leaves calls of method `name` to [`Endpoint::requests`](crate::endpoint::Endpoint::requests).
    ///
    /// # Panics
    /// As [`Router::serve`].
    #[must_use]
    pub fn queue(self, name: &str) -> Self {
        self.insert(name, None).unwrap_or_else(|error| panic!("{error}"))
    }

    fn insert(mut self, name: &str, inline: Option<Inline>) -> Result<Self, DuplicateMethod> {
        let number = method_id(name);
        let method = Method { name: name.to_owned(), inline };
        match self.methods.insert(number, method) {
            None => Ok(self),
            Some(other) => Err(DuplicateMethod { name: name.to_owned(), other: other.name, number }),
        }
    }

    /// The name of a number that is served here.
    #[must_use]
    pub fn name_of(&self, method: MethodId) -> Option<&str> {
        self.methods.get(&method).map(|method| method.name.as_str())
    }
}

impl Handler for Router {
    fn on_request(&mut self, request: Request<'_>, reply: &mut ReplyWriter<'_>) {
        match self.methods.get_mut(&request.method) {
            Some(Method { inline: Some(handler), .. }) => handler(request, reply),
            _ => reply.fail(status::NO_SUCH_METHOD, b"no such method"),
        }
    }

    fn queues(&self, method: MethodId) -> bool {
        matches!(self.methods.get(&method), Some(Method { inline: None, .. }))
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.methods.values().map(|method| &method.name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_registered_twice_is_found_at_once() {
        let router = Router::new().serve("Store/Get", |_, reply| reply.send(b""));
        assert_eq!(router.name_of(method_id("Store/Get")), Some("Store/Get"));
        let error = router.try_serve("Store/Get", |_, _| {}).expect_err("there already");
        assert_eq!(error.other, "Store/Get");
    }

    #[test]
    fn names_that_collide_are_refused_by_both_names() {
        // Found by search: these two share a 32-bit FNV-1a number.
        assert_eq!(method_id("costarring"), method_id("liquid"));
        let error =
            Router::new().queue("costarring").try_serve("liquid", |_, _| {}).expect_err("a collision");
        assert_eq!((error.name.as_str(), error.other.as_str()), ("liquid", "costarring"));
    }
}
