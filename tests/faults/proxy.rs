//! A proxy before an origin, at the same end of the line: it ends connections in ways that a server cannot be asked for. It
//! passes bytes on unread and unchanged.

use std::net::SocketAddr;
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::{AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::sleep;

use super::network::Line;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    None,
    HalfClose,
    Reset,
    End,
}

pub struct Proxy {
    orders: watch::Sender<Order>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// From one port to another of the same origin; with a `life`, every connection is reset at that age.
    pub fn start(line: Line, from: u16, to: u16, life: Option<Duration>) -> Self {
        let (orders, watched) = watch::channel(Order::None);
        let (ready, is_ready) = sync_channel(1);
        let (from, to) = (SocketAddr::from((line.address(), from)), SocketAddr::from((line.address(), to)));
        let thread = line.thread(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::bind(from).await.unwrap();
                ready.send(()).unwrap();
                listen(listener, to, life, watched).await;
            });
        });
        is_ready.recv().unwrap();
        Self { orders, thread: Some(thread) }
    }

    /// Sends every client of this moment our FIN, and goes on taking what it sends.
    pub fn half_close(&self) {
        self.orders.send_replace(Order::HalfClose);
    }

    /// Resets every connection of this moment; new ones are welcome.
    pub fn reset(&self) {
        self.orders.send_replace(Order::Reset);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.orders.send_replace(Order::End);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

async fn listen(listener: TcpListener, to: SocketAddr, life: Option<Duration>, orders: watch::Receiver<Order>) {
    let mut end = orders.clone();
    loop {
        tokio::select! {
            _ = end.wait_for(|order| *order == Order::End) => return,
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { continue };
                let mut orders = orders.clone();
                orders.mark_unchanged();
                tokio::spawn(carry(client, to, life, orders));
            }
        }
    }
}

async fn carry(mut client: TcpStream, to: SocketAddr, life: Option<Duration>, mut orders: watch::Receiver<Order>) {
    let Ok(mut origin) = TcpStream::connect(to).await else { return };
    let _ = (client.set_nodelay(true), origin.set_nodelay(true));
    let order = {
        let (mut from_client, mut to_client) = client.split();
        let (mut from_origin, mut to_origin) = origin.split();
        let up = copy(&mut from_client, &mut to_origin);
        let mut up = std::pin::pin!(up);
        let order = tokio::select! {
            _ = &mut up => Order::None,
            _ = copy(&mut from_origin, &mut to_client) => Order::None,
            _ = orders.changed() => *orders.borrow(),
            () = end_of(life) => Order::Reset,
        };
        if order == Order::HalfClose && to_client.shutdown().await.is_ok() {
            let _ = up.await;
        }
        order
    };
    // The origin first: it is to know that its publisher is gone before the next one comes.
    drop(origin);
    if order == Order::Reset {
        let _ = socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO));
    }
}

async fn end_of(life: Option<Duration>) {
    match life {
        Some(life) => sleep(life).await,
        None => std::future::pending().await,
    }
}
