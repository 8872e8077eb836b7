//! Calls awaited and answered by async code. Any executor will do; this one is ten lines long.
//!
//! `cargo run --example rpc_async`

use std::error::Error;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use ringwire::endpoint::{Call, Endpoint, Requests};
use ringwire::rpc::{Router, method_id};

const SHOUT: u32 = method_id("Text/Shout");
const CALLS: usize = 100;

/// Answers calls away from the worker: it may await whatever it likes.
async fn serve(requests: Requests) {
    while let Some(call) = requests.next().await {
        let shout = call.payload.to_ascii_uppercase();
        call.reply(shout);
    }
}

async fn run(client: &Endpoint, server: &Endpoint) -> Result<usize, Box<dyn Error>> {
    let peer = client.connect(server.local_addr()).await?;
    // All are under way before the first is awaited.
    let calls: Vec<Call> = (0..CALLS).map(|i| peer.call(SHOUT, format!("call {i}")).start()).collect();
    let mut right = 0;
    for (i, call) in calls.into_iter().enumerate() {
        let reply = call.await.expect("a reply");
        right += usize::from(reply == format!("CALL {i}"));
    }
    Ok(right)
}

fn main() -> Result<(), Box<dyn Error>> {
    let bind = "127.0.0.1:0".parse()?;
    let server = Endpoint::builder().bind(bind).handler(|_| Router::new().queue("Text/Shout")).start()?;
    let client = Endpoint::builder().bind(bind).start()?;

    let requests = server.requests();
    let serving = std::thread::spawn(move || block_on(serve(requests)));
    let right = block_on(run(&client, &server))?;
    println!("rpc_async: {right} of {CALLS} replies right");

    // The end of the endpoint ends its queue, and so the loop that reads it.
    drop(client);
    drop(server);
    serving.join().expect("the server's task does not panic");
    if right == CALLS { Ok(()) } else { Err("a reply was wrong".into()) }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}
