//! One segment's way into the bucket: looked for there first, sent whole or in parts, looked for again. It may be broken off at any
//! await and begun again, in this life or another: what the store has is asked of the store.
//!
//! ```text
//!            there already
//!  HEAD ───────────────────────────────────────────────────────────────▶ done
//!   │ small                                                       HEAD ──▲
//!   ├──────▶ read, hash, PUT ───────────────────────────────────────┘│
//!   │ large                                                          │
//!   └──────▶ begin, or ListParts of what was begun ──▶ parts ──▶ complete
//!                                                        │ the file is not what was recorded, or gone
//!                                                        └──▶ abort
//! ```

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::task::JoinSet;

use super::desk::{Desk, Unreadable};
use super::object::{self, Place};
use super::plan::{Layout, Listed, Prints, is_same};
use super::store::{Found, Store, Unfinished};
use super::trouble::Trouble;
use crate::archive::index::{Entry, Upload};

/// Parts on their way at once; another one is being read meanwhile. So three parts of memory are used at most.
const IN_FLIGHT: usize = 2;

const KIND: &str = "video/mp4";

/// Where a segment's way ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// It is in the bucket, whole.
    There { object: String },
    /// Its file has been deleted.
    Gone,
    /// It cannot be uploaded as it is, and why.
    Failed(String),
}

/// What it takes.
pub struct Way<'a> {
    pub desk: &'a Desk,
    pub store: &'a Store,
    pub place: &'a Place,
    pub part_size: u64,
    /// Counts the parts that got there, also of a way that is broken off.
    pub landed: &'a AtomicUsize,
}

/// A part with what the store calls it.
type Sent = (Prints, Option<String>);

impl Way<'_> {
    pub async fn take(&self, entry: &Entry) -> Result<End, Trouble> {
        let object = self.place.segment(entry);
        match self.store.head(&object).await? {
            Some(found) if is_it(&found, entry) => {
                self.end_begun(entry).await?;
                return self.arrived(entry, object).await;
            }
            Some(Found { sha256: Some(_), .. }) => return Ok(End::Failed(self.taken(&object))),
            // What has no hash was not finished by us.
            _ => {}
        }
        let (name, bytes) = (entry.name, entry.bytes);
        if let Err(unreadable) = self.desk.ask(move |drawer| drawer.open(name, bytes)).await? {
            return self.unreadable(entry, unreadable).await;
        }
        let layout = Layout::new(entry.bytes, self.part_size);
        let sent =
            if layout.is_single() { self.whole(entry, &object).await? } else { self.parts(entry, &object, layout).await? };
        if let Err(unreadable) = sent {
            return self.unreadable(entry, unreadable).await;
        }
        self.look_again(entry, &object).await?;
        self.arrived(entry, object).await
    }

    async fn whole(&self, entry: &Entry, object: &str) -> Result<Result<(), Unreadable>, Trouble> {
        self.end_begun(entry).await?;
        let length = entry.bytes;
        let (bytes, prints) = match self.desk.ask(move |drawer| drawer.part(length)).await? {
            Ok(read) => read,
            Err(unreadable) => return Ok(Err(unreadable)),
        };
        if prints.sha256 != entry.sha256.0 {
            return Ok(Err(changed(entry)));
        }
        self.store.put(object, KIND, &object::metadata(entry), bytes, &prints).await.map(Ok)
    }

    async fn parts(&self, entry: &Entry, object: &str, layout: Layout) -> Result<Result<(), Unreadable>, Trouble> {
        let (upload, there) = self.begin_or_resume(entry, object).await?;
        let resumed = matches!(&entry.upload, Upload::Begun { id, .. } if *id == upload.id);
        let sent = self.send_parts(entry, &upload, layout, there).await;
        match sent {
            // Of an upload that is over, some stores say that access to it is denied.
            Err(Trouble::Denied(text)) if resumed => self.forget(entry, &upload, text).await,
            Err(trouble @ (Trouble::Absent | Trouble::Stale(_))) => self.forget(entry, &upload, trouble.to_string()).await,
            other => other,
        }
    }

    /// The next try begins a new one.
    async fn forget<T>(&self, entry: &Entry, upload: &Unfinished, why: String) -> Result<T, Trouble> {
        self.end(upload).await?;
        self.remember(entry, Upload::Waiting).await?;
        Err(Trouble::Stale(format!("{why}; the upload of {} begins again", entry.name.closed())))
    }

    async fn send_parts(
        &self,
        entry: &Entry,
        upload: &Unfinished,
        layout: Layout,
        there: HashMap<i32, Listed>,
    ) -> Result<Result<(), Unreadable>, Trouble> {
        let mut flight = Flight::new(self.store.clone(), upload.clone(), self.landed);
        for (length, number) in layout.lengths().zip(1..) {
            let (bytes, prints) = match self.desk.ask(move |drawer| drawer.part(length)).await? {
                Ok(read) => read,
                Err(unreadable) => return Ok(Err(unreadable)),
            };
            match there.get(&number).filter(|listed| is_same(listed, &prints)) {
                Some(listed) => flight.arrived(number, (prints, listed.etag.clone())),
                None => flight.send(number, bytes, prints).await?,
            }
        }
        let parts = flight.land().await?;
        if self.desk.ask(|drawer| drawer.close()).await? != Some(entry.sha256.0) {
            return Ok(Err(changed(entry)));
        }
        self.store.complete(upload, &parts).await.map(Ok)
    }

    /// The upload to send parts to, and the parts that it has.
    async fn begin_or_resume(&self, entry: &Entry, object: &str) -> Result<(Unfinished, HashMap<i32, Listed>), Trouble> {
        if let Some(upload) = begun(entry).filter(|upload| upload.object == object) {
            match self.store.parts(&upload).await {
                Ok(parts) => return Ok((upload, parts.into_iter().map(|part| (part.number, part)).collect())),
                Err(Trouble::Absent | Trouble::Unable | Trouble::Denied(_)) => {}
                Err(trouble) => return Err(trouble),
            }
        }
        self.end_begun(entry).await?;
        let id = self.store.begin(object, KIND, &object::metadata(entry)).await?;
        let upload = Unfinished { object: object.into(), id };
        self.remember(entry, Upload::Begun { object: upload.object.clone(), id: upload.id.clone() }).await?;
        Ok((upload, HashMap::new()))
    }

    async fn unreadable(&self, entry: &Entry, unreadable: Unreadable) -> Result<End, Trouble> {
        if let Unreadable::Disk(text) = unreadable {
            return Err(Trouble::Local(text));
        }
        // What was begun meanwhile is in the index only.
        let name = entry.name;
        let now = self.desk.index(move |index| index.get(name)).await?.flatten();
        self.end_begun(now.as_ref().unwrap_or(entry)).await?;
        self.remember(entry, Upload::Waiting).await?;
        match unreadable {
            Unreadable::Damaged(text) => Ok(End::Failed(text)),
            _ => {
                self.desk.index(move |index| index.set_gone(name)).await?;
                Ok(End::Gone)
            }
        }
    }

    /// The store has the object, and says of it what we do.
    async fn look_again(&self, entry: &Entry, object: &str) -> Result<(), Trouble> {
        let found = self.store.head(object).await?;
        let sha256 = found.as_ref().and_then(|found| found.sha256.as_ref());
        let same = found.as_ref().is_some_and(|found| found.bytes == entry.bytes);
        match same && sha256.is_none_or(|sha256| *sha256 == entry.sha256.to_string()) {
            true => Ok(()),
            false => {
                Err(Trouble::Weather(format!("{}: {object} is not there as it was sent; it is sent again", self.store.place())))
            }
        }
    }

    async fn arrived(&self, entry: &Entry, object: String) -> Result<End, Trouble> {
        self.remember(entry, Upload::Done { object: object.clone() }).await?;
        Ok(End::There { object })
    }

    async fn end_begun(&self, entry: &Entry) -> Result<(), Trouble> {
        match begun(entry) {
            Some(upload) => self.end(&upload).await,
            None => Ok(()),
        }
    }

    /// A store that refuses to end an upload has none of this id, or forbids it; nothing is to be done about either.
    async fn end(&self, upload: &Unfinished) -> Result<(), Trouble> {
        match self.store.abort(upload).await {
            Err(Trouble::Denied(_) | Trouble::Unable) => Ok(()),
            other => other,
        }
    }

    async fn remember(&self, entry: &Entry, upload: Upload) -> Result<(), Trouble> {
        let name = entry.name;
        self.desk.index(move |index| index.set_upload(name, &upload)).await.map(drop)
    }

    fn taken(&self, object: &str) -> String {
        format!(
            "{} has another recording as {object}, which is not overwritten: does another box have the same device.name there?",
            self.store.place()
        )
    }
}

fn is_it(found: &Found, entry: &Entry) -> bool {
    found.bytes == entry.bytes && found.sha256.as_deref() == Some(entry.sha256.to_string().as_str())
}

fn begun(entry: &Entry) -> Option<Unfinished> {
    match &entry.upload {
        Upload::Begun { object, id } => Some(Unfinished { object: object.clone(), id: id.clone() }),
        _ => None,
    }
}

fn changed(entry: &Entry) -> Unreadable {
    Unreadable::Damaged(format!("{} is not what was recorded (its SHA-256 is another one); check the disk", entry.name.closed()))
}

/// Parts on their way; what is still on its way when it is dropped is given up.
struct Flight<'a> {
    landed: &'a AtomicUsize,
    store: Store,
    upload: Unfinished,
    parts: Vec<Option<Sent>>,
    tasks: JoinSet<(i32, Prints, Result<Option<String>, Trouble>)>,
}

impl<'a> Flight<'a> {
    fn new(store: Store, upload: Unfinished, landed: &'a AtomicUsize) -> Self {
        Self { landed, store, upload, parts: Vec::new(), tasks: JoinSet::new() }
    }

    fn arrived(&mut self, number: i32, sent: Sent) {
        let place = number as usize - 1;
        if self.parts.len() <= place {
            self.parts.resize(place + 1, None);
        }
        self.parts[place] = Some(sent);
    }

    /// Waits for room.
    async fn send(&mut self, number: i32, bytes: Bytes, prints: Prints) -> Result<(), Trouble> {
        while self.tasks.len() >= IN_FLIGHT {
            self.next().await?;
        }
        let (store, upload) = (self.store.clone(), self.upload.clone());
        self.tasks.spawn(async move { (number, prints, store.part(&upload, number, bytes, &prints).await) });
        Ok(())
    }

    async fn next(&mut self) -> Result<(), Trouble> {
        if let Some(landed) = self.tasks.join_next().await {
            let (number, prints, etag) = landed.map_err(|error| Trouble::Weather(format!("a part was not sent ({error})")))?;
            self.arrived(number, (prints, etag?));
            self.landed.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Waits for all; in order.
    async fn land(mut self) -> Result<Vec<Sent>, Trouble> {
        while !self.tasks.is_empty() {
            self.next().await?;
        }
        Ok(self.parts.into_iter().flatten().collect())
    }
}
