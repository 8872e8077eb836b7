//! tonic: gRPC over HTTP/2, one connection, unary calls.

use bytes::Bytes;
use futures::stream::{FuturesUnordered, StreamExt};
use tonic::{Request, Response, Status, transport::Server};

use crate::{Load, Scenario, Tally, open_loop, pin, runtime};

pub mod pb {
    tonic::include_proto!("echo");
}

struct Echo;

#[tonic::async_trait]
impl pb::echo_server::Echo for Echo {
    async fn call(&self, req: Request<pb::Payload>) -> Result<Response<pb::Payload>, Status> {
        Ok(Response::new(req.into_inner()))
    }
}

pub fn run(load: Load) -> anyhow::Result<Tally> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let addr = listener.local_addr()?;
    std::thread::spawn(move || {
        pin(1);
        runtime().block_on(async {
            let l = tokio::net::TcpListener::from_std(listener).unwrap();
            let incoming = tonic::transport::server::TcpIncoming::from(l).with_nodelay(Some(true));
            let svc = pb::echo_server::EchoServer::new(Echo)
                .max_decoding_message_size(64 << 20)
                .max_encoding_message_size(64 << 20);
            Server::builder().add_service(svc).serve_with_incoming(incoming).await.unwrap();
        })
    });
    pin(0);
    runtime().block_on(async {
        let client = pb::echo_client::EchoClient::connect(format!("http://{addr}"))
            .await?
            .max_decoding_message_size(64 << 20)
            .max_encoding_message_size(64 << 20);
        let body = Bytes::from(vec![7u8; load.bytes]);
        let window = if load.scenario == Scenario::Bulk { 4 } else { load.window };
        let call = || {
            let (mut c, body) = (client.clone(), body.clone());
            async move {
                let t = std::time::Instant::now();
                c.call(pb::Payload { body }).await.map(|r| (t, r.into_inner().body.len()))
            }
        };
        if load.scenario == Scenario::Load {
            return open_loop::run(load, || {
                let answer = call();
                async move { anyhow::Ok(answer.await?.1) }
            })
            .await;
        }
        let mut tally = Tally::new(load);
        let mut flying: FuturesUnordered<_> = (0..window).map(|_| call()).collect();
        loop {
            let (t, n) = flying.next().await.unwrap()?;
            if !tally.done(t, n) {
                return Ok(tally);
            }
            flying.push(call());
        }
    })
}
