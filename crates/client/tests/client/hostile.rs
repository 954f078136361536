//! Brokers that don't keep to the protocol.

use client::{Client, Error, Options};
use messages::header::response_header_version;
use messages::{ApiKey, ApiVersionsResponse, ResponseHeader};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use wire::{Bytes, Writer};

use crate::{Node, run};

/// Answers the first request of every connection with `answer`, and says no more.
async fn hostile(answer: Vec<u8>, then_close: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 64];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(&answer).await;
            if !then_close {
                open.push(stream);
            }
        }
    });
    let properties = [
        ("bootstrap.servers", format!("127.0.0.1:{port}")),
        ("request.timeout.ms", "300".to_owned()),
    ];
    let properties = properties.map(|(key, value)| (key.to_owned(), value)).into();
    let options = Options::from_properties(&properties).unwrap();
    Client::connect(options).await.unwrap_err().to_string()
}

/// A good answer to ApiVersions of version 4.
fn versions() -> Bytes {
    let mut writer = Writer::new();
    writer.i32(0);
    let header = ResponseHeader { correlation_id: 0, ..Default::default() };
    header.encode(&mut writer, response_header_version(ApiKey::ApiVersions, 4)).unwrap();
    ApiVersionsResponse::default().encode(&mut writer, 4).unwrap();
    writer.patch_size();
    writer.finish().to_bytes()
}

#[test]
fn answers_against_the_protocol_are_errors() {
    run(async {
        let frame = |size: i32, body: &[u8]| [&size.to_be_bytes()[..], body].concat();
        for (answer, close, words) in [
            (vec![], true, "closed by the broker"),
            (frame(-1, &[]), false, "answer of -1 bytes"),
            (frame(3, &[0, 0, 0]), false, "answer of 3 bytes"),
            (frame(i32::MAX, &[]), false, "answer of 2147483647 bytes"),
            (frame(90_000_000, &[]), false, "(no answer in 300 ms)"),
            (frame(4, &[0, 0, 0, 9]), false, "answer to a request 9 that was not sent"),
            (frame(4, &[0, 0, 0, 0]), false, "protocol error: ApiVersions answer of"),
            (versions().to_vec(), false, "does not support Metadata"),
        ] {
            let error = hostile(answer, close).await;
            assert!(error.contains(words), "{error}, expected {words}");
            assert!(!error.contains('\n'), "{error}");
        }
    });
}

#[test]
fn a_server_that_says_nothing_is_out_of_reach_and_another_is_tried() {
    run(async {
        // Never accepted from: the operating system completes the connections all the same.
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let silent = silent.local_addr().map(|address| (silent, address.to_string()));
        let (_listener, silent) = silent.unwrap();
        let options = |servers: String| {
            let properties = [
                ("bootstrap.servers", servers),
                ("socket.connection.setup.timeout.ms", "300".to_owned()),
            ];
            let properties = properties.map(|(key, value)| (key.to_owned(), value)).into();
            Options::from_properties(&properties).unwrap()
        };
        let error = Client::connect(options(silent.clone())).await.unwrap_err();
        let why = "no answer in 300 ms".to_owned();
        assert_eq!(error, Error::Unreachable { address: silent.clone(), why });
        let node = Node::start().await;
        let servers = format!("{silent},localhost:{}", node.port);
        Client::connect(options(servers)).await.expect("the other server");
        node.stop().await;
    });
}

#[test]
fn answers_cut_short_or_damaged_are_errors() {
    run(async {
        let good = versions();
        for at in 4..good.len() {
            let mut damaged = good.to_vec();
            damaged[at] ^= 0xff;
            hostile(damaged, true).await;
            hostile(good[..at].to_vec(), true).await;
        }
    });
}
