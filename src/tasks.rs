//! The daemon's tasks, by name. None of them ever ends by itself, so the first that does is the end of the process.
//!
//! Restarting a part in place would leave the rest with half a state; systemd restarts the whole in milliseconds, and the boot
//! loader counts.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::{Id, JoinSet};

#[derive(Default)]
pub struct Tasks {
    set: JoinSet<anyhow::Result<()>>,
    names: HashMap<Id, String>,
}

/// A task that is over.
#[derive(Debug)]
pub struct Ended {
    pub name: String,
    pub result: anyhow::Result<()>,
}

/// A thread with a runtime of its own, for tasks that wake each other often: they then share one thread's wake-ups, and no
/// other thread is woken to steal them. It lives as long as the process.
pub fn lane(name: &str) -> io::Result<Handle> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    std::thread::Builder::new().name(name.into()).spawn(move || runtime.block_on(std::future::pending::<()>()))?;
    Ok(handle)
}

impl Tasks {
    pub fn spawn<E>(&mut self, name: impl Into<String>, task: impl Future<Output = Result<(), E>> + Send + 'static)
    where
        E: Into<anyhow::Error> + Send + 'static,
    {
        self.spawn_on(&Handle::current(), name, task);
    }

    /// The same, on another runtime: see [`lane`].
    pub fn spawn_on<E>(
        &mut self,
        lane: &Handle,
        name: impl Into<String>,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) where
        E: Into<anyhow::Error> + Send + 'static,
    {
        let handle = self.set.spawn_on(async move { task.await.map_err(Into::into) }, lane);
        self.names.insert(handle.id(), name.into());
    }

    /// The next task to end; `None` if there is none left.
    pub async fn next_end(&mut self) -> Option<Ended> {
        let (id, result) = match self.set.join_next_with_id().await? {
            Ok((id, result)) => (id, result),
            Err(panic) => (panic.id(), Err(anyhow::anyhow!("it panicked"))),
        };
        Some(Ended { name: self.names.remove(&id).unwrap_or_default(), result })
    }

    /// Waits until those that are `meant` are over; the names of those that were not in time.
    pub async fn wait(&mut self, meant: impl Fn(&str) -> bool, limit: Duration) -> Vec<String> {
        let all = async { while self.names.values().any(|name| meant(name)) && self.next_end().await.is_some() {} };
        let _ = tokio::time::timeout(limit, all).await;
        let mut late: Vec<_> = self.names.values().filter(|name| meant(name)).cloned().collect();
        late.sort();
        late
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    #[tokio::test]
    async fn a_lane_is_a_thread_of_its_own() {
        let (lane, mut tasks) = (lane("beside").unwrap(), Tasks::default());
        tasks.spawn_on(&lane, "named", async {
            anyhow::ensure!(std::thread::current().name() == Some("beside"));
            Ok::<(), anyhow::Error>(())
        });
        assert!(tasks.next_end().await.unwrap().result.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_end_has_a_name_and_the_late_ones_too() {
        let mut tasks = Tasks::default();
        tasks.spawn("for ever", std::future::pending::<Result<(), Infallible>>());
        tasks.spawn("short", async { anyhow::Ok(()) });
        let ended = tasks.next_end().await.unwrap();
        assert_eq!((ended.name.as_str(), ended.result.is_ok()), ("short", true));
        assert_eq!(tasks.wait(|_| true, Duration::from_secs(1)).await, ["for ever"]);
    }
}
