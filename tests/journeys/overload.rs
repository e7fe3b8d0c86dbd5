//! More postbacks at once than the one-machine front takes: the rest is turned away, visitors go on.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use clickledger::front;
use serde_json::{Value, json};
use tests::{BROWSER, World};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// As many as the front takes.
const TAKEN_MOST: usize = 256;

/// A sender that was given a place, and whose body is still to come.
async fn taken(address: SocketAddr, body: &str) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /postback HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut line = [0; 12];
    stream.read_exact(&mut line).await.unwrap();
    // The front asks for the body of whom it takes.
    (&line == b"HTTP/1.1 100").then_some(stream)
}

async fn rest_of(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nUser-Agent: {BROWSER}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    rest_of(stream).await
}

fn body_of(answer: &str) -> Value {
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postbacks_that_find_no_place_are_to_be_repeated_and_visitors_are_sent_on() {
    let World { stack, token, .. } = World::with_shop("2026-07-01T10:00:00Z").await;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let stack = Arc::new(stack);
    tokio::spawn(front::serve(
        Arc::clone(&stack),
        listener,
        std::future::pending(),
    ));
    let sale = |order: usize| {
        let sale = json!({
            "token": token, "program": "shoes", "order_id": order.to_string(), "amount": "10",
        });
        sale.to_string()
    };
    let mut senders = Vec::new();
    for order in 0..TAKEN_MOST {
        senders.push(taken(address, &sale(order)).await.unwrap());
    }
    assert!(taken(address, &sale(TAKEN_MOST)).await.is_none());

    let refused = get(address, "/postback?order_id=one-more").await;
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    assert!(refused.contains("retry-after: 1\r\n"), "{refused}");
    assert_eq!(body_of(&refused)["code"], "overloaded");
    let sent_on = async || {
        // Where a loaded machine is too slow for the redirect's time limit the visitor asks again.
        for _ in 0..50 {
            let answer = get(address, "/r/anna-shoes").await;
            if !answer.starts_with("HTTP/1.1 503") {
                return answer;
            }
        }
        panic!("the link answers 503 again and again");
    };
    assert!(sent_on().await.starts_with("HTTP/1.1 302"));
    // Nor do postbacks stand in the way of people.
    let people = get(address, "/api/v1/merchants").await;
    assert!(people.starts_with("HTTP/1.1 401"), "{people}");
    let health = body_of(&get(address, "/dev/health").await);
    assert_eq!(
        (&health["status"], &health["turned_away"]),
        (&json!("ready"), &json!(2))
    );

    for (order, sender) in senders.iter_mut().enumerate() {
        sender.write_all(sale(order).as_bytes()).await.unwrap();
    }
    for sender in senders {
        let answer = rest_of(sender).await;
        assert!(answer.contains(r#""status":"unattributed""#), "{answer}");
    }
    let mut later = taken(address, &sale(TAKEN_MOST)).await.unwrap();
    later.write_all(sale(TAKEN_MOST).as_bytes()).await.unwrap();
    assert!(rest_of(later).await.contains("HTTP/1.1 200"));
}
