use std::io;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use cachex_test_support::{Fault, FaultProxy, RedisServer, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::SOON;

/// Long enough for bytes that are under way to arrive, so that their absence means something.
const QUIET: Duration = Duration::from_millis(100);

/// A client and the server's end of one connection through a proxy.
struct Ends {
    proxy: FaultProxy,
    listener: TcpListener,
    client: TcpStream,
    server: TcpStream,
}

async fn connected() -> Ends {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let proxy = FaultProxy::start(listener.local_addr().expect("bound")).await;
    let client = TcpStream::connect(proxy.addr()).await.expect("connected");
    let (server, _) = listener.accept().await.expect("accepted");
    Ends { proxy, listener, client, server }
}

async fn receives(stream: &mut TcpStream, expected: &[u8]) {
    let mut bytes = vec![0; expected.len()];
    timeout(SOON, stream.read_exact(&mut bytes)).await.expect("in time").expect("open");
    assert_eq!(bytes, expected);
}

async fn receives_nothing(stream: &mut TcpStream) {
    let read = timeout(QUIET, stream.read(&mut [0; 64])).await;
    assert!(read.is_err(), "expected silence, got {read:?}");
}

async fn is_reset(stream: &mut TcpStream) {
    let read = timeout(SOON, stream.read(&mut [0; 64])).await.expect("in time");
    assert_eq!(read.expect_err("a reset, not an end").kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn passes_both_ways_and_counts() {
    let Ends { proxy, listener: _listener, mut client, mut server } = connected().await;
    client.write_all(b"request").await.expect("sent");
    receives(&mut server, b"request").await;
    server.write_all(b"the reply").await.expect("sent");
    receives(&mut client, b"the reply").await;
    assert_eq!((proxy.bytes_to_server(), proxy.bytes_to_client()), (7, 9));
    assert_eq!((proxy.connections(), proxy.open_connections()), (1, 1));
    drop(client);
    drop(server);
    eventually(SOON, async || proxy.open_connections() == 0).await;
}

#[tokio::test]
async fn passes_a_half_close() {
    let Ends { proxy: _proxy, listener: _listener, mut client, mut server } = connected().await;
    client.shutdown().await.expect("shut down");
    assert_eq!(timeout(SOON, server.read(&mut [0; 8])).await.expect("in time").expect("an end"), 0);
    server.write_all(b"still here").await.expect("sent");
    drop(server);
    receives(&mut client, b"still here").await;
    assert_eq!(timeout(SOON, client.read(&mut [0; 8])).await.expect("in time").expect("an end"), 0);
}

#[tokio::test]
async fn refuses_new_connections_and_keeps_the_old() {
    let Ends { proxy, listener: _listener, mut client, mut server } = connected().await;
    proxy.set(Fault::Refuse);
    let mut late = TcpStream::connect(proxy.addr()).await.expect("the kernel accepts");
    is_reset(&mut late).await;
    client.write_all(b"x").await.expect("sent");
    receives(&mut server, b"x").await;
    assert_eq!((proxy.connections(), proxy.open_connections()), (2, 1));
}

#[tokio::test]
async fn a_server_that_is_down_looks_like_a_reset() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let proxy = FaultProxy::start(listener.local_addr().expect("bound")).await;
    drop(listener);
    let mut client = TcpStream::connect(proxy.addr()).await.expect("the proxy accepts");
    is_reset(&mut client).await;
}

#[tokio::test]
async fn a_black_hole_swallows_everything_for_good() {
    let Ends { proxy, listener, mut client, mut server } = connected().await;
    proxy.set(Fault::Blackhole);
    client.write_all(b"lost").await.expect("sent");
    receives_nothing(&mut server).await;
    server.write_all(b"lost").await.expect("sent");
    receives_nothing(&mut client).await;
    let mut late = TcpStream::connect(proxy.addr()).await.expect("accepted");
    assert!(timeout(QUIET, listener.accept()).await.is_err(), "the black hole reached the server");

    proxy.set(Fault::Pass);
    client.write_all(b"after a gap").await.expect("sent");
    receives_nothing(&mut server).await;
    late.write_all(b"never").await.expect("sent");
    receives_nothing(&mut late).await;
    drop(server);
    receives_nothing(&mut client).await;
    assert_eq!((proxy.bytes_to_server(), proxy.bytes_to_client()), (0, 0));

    let mut fresh = TcpStream::connect(proxy.addr()).await.expect("accepted");
    let (mut server, _) = listener.accept().await.expect("forwarded");
    fresh.write_all(b"well").await.expect("sent");
    receives(&mut server, b"well").await;
}

#[tokio::test]
async fn requests_arrive_while_replies_are_dropped() {
    let Ends { proxy, listener: _listener, mut client, mut server } = connected().await;
    proxy.set(Fault::DropReplies);
    client.write_all(b"request").await.expect("sent");
    receives(&mut server, b"request").await;
    server.write_all(b"reply").await.expect("sent");
    receives_nothing(&mut client).await;
    proxy.set(Fault::Pass);
    server.write_all(b"another").await.expect("sent");
    receives_nothing(&mut client).await;
    client.write_all(b"more").await.expect("sent");
    receives(&mut server, b"more").await;
}

#[tokio::test]
async fn held_bytes_arrive_when_the_partition_heals() {
    let Ends { proxy, listener: _listener, mut client, mut server } = connected().await;
    proxy.set(Fault::Hold);
    client.write_all(b"patience").await.expect("sent");
    receives_nothing(&mut server).await;
    proxy.set(Fault::Pass);
    receives(&mut server, b"patience").await;
}

#[tokio::test]
async fn latency_delays_each_way() {
    let Ends { proxy, listener: _listener, mut client, mut server } = connected().await;
    proxy.set(Fault::Latency(Duration::from_millis(40)));
    let start = Instant::now();
    client.write_all(b"ping").await.expect("sent");
    receives(&mut server, b"ping").await;
    server.write_all(b"pong").await.expect("sent");
    receives(&mut client, b"pong").await;
    assert!(start.elapsed() >= Duration::from_millis(80), "{:?}", start.elapsed());
}

#[tokio::test]
async fn slices_lose_nothing() {
    let Ends { proxy, listener: _listener, mut client, mut server } = connected().await;
    proxy.set(Fault::Slice(1));
    client.write_all(b"one by one").await.expect("sent");
    let mut first = [0; 64];
    let read = timeout(SOON, server.read(&mut first)).await.expect("in time").expect("open");
    assert!(read < 10, "a first read of {read} bytes is not sliced");
    receives(&mut server, &b"one by one"[read..]).await;
    proxy.set(Fault::Slice(0));
    server.write_all(b"back").await.expect("sent");
    receives(&mut client, b"back").await;
}

#[tokio::test]
async fn cuts_after_so_many_bytes_to_the_server() {
    let Ends { proxy, listener: _listener, mut client, mut server } = connected().await;
    client.write_all(b"not counted").await.expect("sent");
    receives(&mut server, b"not counted").await;
    proxy.set(Fault::CutToServer(5));
    server.write_all(b"unharmed").await.expect("sent");
    receives(&mut client, b"unharmed").await;
    client.write_all(b"abc").await.expect("sent");
    receives(&mut server, b"abc").await;
    client.write_all(b"defg").await.expect("sent");
    receives(&mut server, b"de").await;
    is_reset(&mut server).await;
    is_reset(&mut client).await;
}

#[tokio::test]
async fn cuts_after_so_many_bytes_to_the_client() {
    let Ends { proxy, listener, mut client, mut server } = connected().await;
    proxy.set(Fault::CutToClient(3));
    server.write_all(b"reply").await.expect("sent");
    receives(&mut client, b"rep").await;
    is_reset(&mut client).await;

    let mut next = TcpStream::connect(proxy.addr()).await.expect("accepted");
    let (mut server, _) = listener.accept().await.expect("forwarded");
    server.write_all(b"reply").await.expect("sent");
    receives(&mut next, b"rep").await;
    is_reset(&mut next).await;
}

#[tokio::test]
async fn resets_what_is_open_and_lets_new_ones_in() {
    let Ends { proxy, listener, mut client, mut server } = connected().await;
    proxy.reset_connections();
    is_reset(&mut client).await;
    is_reset(&mut server).await;
    let mut fresh = TcpStream::connect(proxy.addr()).await.expect("accepted");
    let (mut server, _) = listener.accept().await.expect("forwarded");
    fresh.write_all(b"x").await.expect("sent");
    receives(&mut server, b"x").await;
}

#[tokio::test]
async fn a_reset_by_either_end_is_passed_on() {
    let Ends { proxy: _proxy, listener: _listener, mut client, server } = connected().await;
    server.set_zero_linger().expect("set");
    drop(server);
    is_reset(&mut client).await;
}

#[tokio::test]
async fn new_connections_go_to_the_new_upstream() {
    let Ends { proxy, listener: _listener, mut client, mut server } = connected().await;
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    proxy.set_upstream(other.local_addr().expect("bound"));
    let _fresh = TcpStream::connect(proxy.addr()).await.expect("accepted");
    timeout(SOON, other.accept()).await.expect("in time").expect("forwarded");
    client.write_all(b"as before").await.expect("sent");
    receives(&mut server, b"as before").await;
}

#[tokio::test]
async fn a_dropped_proxy_resets_and_closes_its_port() {
    let Ends { proxy, listener: _listener, mut client, mut server } = connected().await;
    let addr = proxy.addr();
    drop(proxy);
    is_reset(&mut client).await;
    is_reset(&mut server).await;
    eventually(SOON, async || TcpStream::connect(addr).await.is_err()).await;
}

#[tokio::test]
async fn stands_in_front_of_a_real_server() {
    let server = RedisServer::builder().password("s3cret").start().await;
    let proxy = FaultProxy::start(server.addr()).await;
    assert_eq!(server.url_through(proxy.addr()), format!("redis://:s3cret@{}", proxy.addr()));
    let mut client = TcpStream::connect(proxy.addr()).await.expect("accepted");
    client.write_all(b"AUTH s3cret\r\nSET k v\r\n").await.expect("sent");
    receives(&mut client, b"+OK\r\n+OK\r\n").await;
    proxy.set(Fault::DropReplies);
    client.write_all(b"INCR n\r\n").await.expect("sent");
    eventually(SOON, async || server.get("n").await.as_deref() == Some(b"1")).await;
    receives_nothing(&mut client).await;
}
