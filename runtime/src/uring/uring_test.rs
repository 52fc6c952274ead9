use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};

use super::*;
use crate::buffer::PAGE_SIZE;
use crate::effects::{
    Clock, Disk, File, ListenOptions, Listener, Net, NewDir, OpenOptions, Stream, WriteMode,
};

/// Runs `main` as the only shard, on a thread of its own.
fn on_shard<T, Fut>(main: impl FnOnce(UringEffects) -> Fut + Send + 'static) -> T
where
    T: Send + 'static,
    Fut: Future<Output = T> + 'static,
{
    with_options(ShardOptions::default(), main)
}

fn with_options<T, Fut>(options: ShardOptions, main: impl FnOnce(UringEffects) -> Fut + Send + 'static) -> T
where
    T: Send + 'static,
    Fut: Future<Output = T> + 'static,
{
    // A ring that is often full.
    let options = ShardOptions { ring_entries: 8, buffer_budget_bytes: 64 << 20, ..options };
    let thread = std::thread::spawn(move || PreparedShard::new(&options).unwrap().run(main));
    thread.join().unwrap()
}

/// A directory that is removed when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("millrace-runtime-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

const DIRECT: OpenOptions = OpenOptions { write: true, create: true, direct: true };

/// Opens a direct file; says so loudly where the file system has none.
async fn open_direct(effects: &UringEffects, path: &Path) -> Option<UringFile> {
    match effects.disk().open(path, DIRECT).await {
        Ok(file) => Some(file),
        Err(error) => {
            eprintln!("SKIPPED: no direct I/O in the temporary directory: {error}");
            None
        }
    }
}

async fn pair(effects: &UringEffects) -> (UringStream, UringStream) {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let options = ListenOptions { reuse_port: true, backlog: 16, v6_only: false };
    let listener = effects.net().listen(any, options).unwrap();
    let client = effects.net().connect(listener.local_addr()).await.unwrap();
    let server = listener.accept().await.unwrap();
    assert_eq!(client.local_addr(), server.peer_addr());
    assert_eq!(client.peer_addr(), server.local_addr());
    (client, server)
}

async fn recv_exactly(stream: &UringStream, count: usize) -> BytesMut {
    let mut buffer = BytesMut::with_capacity(count);
    while buffer.len() < count {
        let (received, back) = stream.recv(buffer).await;
        assert_ne!(received.unwrap(), 0, "the peer has closed too early");
        buffer = back;
    }
    buffer
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

/// What is written by direct I/O is read back, from the middle, to the end, and through a second slice.
#[test]
fn a_direct_file_gives_back_what_was_written() {
    for durable_write in [DurableWrite::Dsync, DurableWrite::WriteThenSync, DurableWrite::Adaptive] {
        check_direct_file(ShardOptions { durable_write, ..ShardOptions::default() });
    }
}

fn check_direct_file(options: ShardOptions) {
    let scratch = Scratch::new();
    let path = scratch.join("log");
    with_options(options, async move |effects| {
        let Some(file) = open_direct(&effects, &path).await else { return };
        let mut chunk = effects.buffers().chunk(64 << 10).unwrap();
        let content = pattern(3 * PAGE_SIZE - 100);
        chunk.append(&content);
        let slices = vec![chunk.pages(0..PAGE_SIZE), chunk.pages(PAGE_SIZE..content.len())];
        file.write_at(slices, 0, WriteMode::Durable).await.unwrap();
        assert_eq!(file.length().await.unwrap(), 3 * PAGE_SIZE as u64);
        file.truncate(content.len() as u64).await.unwrap();
        let buffer = effects.buffers().buffer(64 << 10).unwrap();
        let (count, buffer) = file.read_at(buffer, PAGE_SIZE as u64, 16 * PAGE_SIZE - PAGE_SIZE).await;
        let count = count.unwrap();
        assert_eq!(&buffer.as_ref()[..count], &content[PAGE_SIZE..]);
        file.sync().await.unwrap();
    });
}

/// Misaligned use of a direct file is an error that names the file, not a panic.
#[test]
fn direct_files_refuse_what_is_not_aligned() {
    let scratch = Scratch::new();
    let path = scratch.join("log");
    on_shard(async move |effects| {
        let Some(file) = open_direct(&effects, &path).await else { return };
        let mut chunk = effects.buffers().chunk(PAGE_SIZE).unwrap();
        chunk.append(b"some bytes");
        for (slice, offset) in [(chunk.slice(0..10), 0), (chunk.pages(0..10), 512)] {
            let error = file.write_at(vec![slice], offset, WriteMode::Durable).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            assert!(error.to_string().contains("log"), "{error}");
        }
        let buffer = effects.buffers().buffer(PAGE_SIZE).unwrap();
        assert!(file.read_at(buffer, 1, PAGE_SIZE).await.0.is_err());
        assert!(file.prewrite(0, 100).await.is_err());
        file.prewrite(0, 2 << 20).await.unwrap();
        assert_eq!(file.length().await.unwrap(), 2 << 20);
    });
}

/// The calls of the helper threads do what they say.
#[test]
fn directories_and_small_files() {
    let scratch = Scratch::new();
    let root = scratch.join("data");
    on_shard(async move |effects| {
        let disk = effects.disk();
        disk.create_dir_all(&root.join("a/b")).await.unwrap();
        disk.create_dir_all(&root.join("a/b")).await.unwrap();
        disk.create_dir(&root.join("a/b")).await.unwrap();
        assert_eq!(disk.create_dir(&root.join("c/d")).await.unwrap_err().kind(), io::ErrorKind::NotFound);
        let dir = |name: &str| NewDir {
            path: root.join("n").join(name),
            files: vec![("log".to_owned(), Vec::new()), ("id".to_owned(), name.as_bytes().to_vec())],
        };
        disk.create_dir_all(&root.join("n")).await.unwrap();
        disk.create_dirs(&root.join("n"), vec![dir("x")]).await.unwrap();
        disk.write_file(&root.join("n/x/log"), b"kept".to_vec()).await.unwrap();
        disk.create_dirs(&root.join("n"), vec![dir("x"), dir("y")]).await.unwrap();
        for (path, content) in [("n/x/log", "kept"), ("n/x/id", "x"), ("n/y/log", ""), ("n/y/id", "y")] {
            assert_eq!(disk.read_file(&root.join(path), 9).await.unwrap(), content.as_bytes(), "{path}");
        }
        assert_eq!(disk.list_dir(&root.join("n/y")).await.unwrap().len(), 2, "nothing else is left");
        disk.write_file(&root.join("a/x"), b"old".to_vec()).await.unwrap();
        disk.write_file(&root.join("a/x"), b"new".to_vec()).await.unwrap();
        assert_eq!(disk.read_file(&root.join("a/x"), 3).await.unwrap(), b"new");
        let paths = ["a/x", "not there", "a/x"].map(|path| root.join(path)).to_vec();
        let new = Some(b"new".to_vec());
        assert_eq!(disk.read_files(paths.clone(), 3).await.unwrap(), [new.clone(), None, new]);
        assert_eq!(disk.read_files(paths, 2).await.unwrap(), [None, None, None], "too large");
        let error = disk.read_file(&root.join("a/x"), 2).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        disk.rename(&root.join("a/x"), &root.join("a/b/y")).await.unwrap();
        let names: Vec<_> = disk.list_dir(&root.join("a")).await.unwrap();
        assert_eq!(names.iter().map(|entry| (&*entry.name, entry.is_dir)).collect::<Vec<_>>(), [("b", true)]);
        let inner = disk.list_dir(&root.join("a/b")).await.unwrap();
        assert_eq!((&*inner[0].name, inner[0].length), ("y", 3));
        disk.remove_file(&root.join("a/b/y")).await.unwrap();
        disk.sync_dir(&root.join("a/b")).await.unwrap();
        disk.remove_dir_all(&root.join("a")).await.unwrap();
        let error = disk.open(&root.join("a/b/y"), OpenOptions::default()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().contains("a/b/y"), "{error}");
        let space = disk.space(&root).await.unwrap();
        assert!(space.available <= space.total && space.total > 0);
    });
}

/// More than any socket buffer goes through, in both directions at once, in many parts.
#[test]
fn a_large_message_is_echoed() {
    const LEN: usize = 24 << 20;
    on_shard(async |effects| {
        let (client, server) = pair(&effects).await;
        effects.spawn(async move {
            loop {
                let (received, buffer) = server.recv(BytesMut::with_capacity(100_000)).await;
                if received.unwrap() == 0 {
                    return;
                }
                let _gone = server.send(vec![buffer.freeze()]).await;
            }
        });
        let content = Bytes::from(pattern(LEN));
        // More parts than the kernel takes in one call.
        let parts: Vec<_> =
            (0..LEN).step_by(10_000).map(|at| content.slice(at..LEN.min(at + 10_000))).collect();
        let sender = client.clone();
        effects.spawn(async move { sender.send(parts).await.unwrap() });
        assert_eq!(recv_exactly(&client, LEN).await, content);
        client.shutdown();
    });
}

/// A receive that is dropped leaves the connection usable, and its memory outlives it.
#[test]
fn a_dropped_receive_is_cancelled() {
    on_shard(async |effects| {
        let (client, server) = pair(&effects).await;
        for _ in 0..100 {
            let mut receive = Box::pin(server.recv(BytesMut::with_capacity(1000)));
            let first = std::future::poll_fn(|context| {
                std::task::Poll::Ready(receive.as_mut().poll(context).is_pending())
            });
            assert!(first.await);
            crate::yield_now().await;
        }
        while effects.stats().operations > 1 {
            crate::yield_now().await;
        }
        client.send(vec![Bytes::from_static(b"still here")]).await.unwrap();
        assert_eq!(recv_exactly(&server, 10).await, &b"still here"[..]);
    });
}

/// Connections die in all states while their operations are under way; the shard survives and ends cleanly.
#[test]
fn a_storm_of_dying_connections_is_survived() {
    on_shard(async |effects| {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = effects
            .net()
            .listen(any, ListenOptions { reuse_port: false, backlog: 64, v6_only: false })
            .unwrap();
        let address = listener.local_addr();
        let accepting = effects.clone();
        effects.spawn(async move {
            for round in 0.. {
                let stream = listener.accept().await.unwrap();
                let sender = stream.clone();
                accepting.spawn(async move {
                    let _gone = sender.send(vec![Bytes::from(vec![0; 1 << 20])]).await;
                });
                accepting.spawn(async move {
                    let _gone = stream.recv(BytesMut::with_capacity(4096)).await;
                    if round % 3 == 0 {
                        stream.shutdown();
                    }
                });
            }
        });
        let living = Rc::new(Cell::new(0));
        for round in 0..200 {
            let client = effects.net().connect(address).await.unwrap();
            let count = Rc::clone(&living);
            count.set(count.get() + 1);
            effects.spawn(async move {
                match round % 4 {
                    0 => {}
                    1 => client.shutdown(),
                    2 => client.send(vec![Bytes::from_static(b"x")]).await.unwrap_or_default(),
                    _ => drop(client.recv(BytesMut::with_capacity(100)).await),
                }
                count.set(count.get() - 1);
            });
        }
        while living.get() > 0 {
            crate::yield_now().await;
        }
    });
}

/// A file goes out whole, from any offset, whether its pages are in memory or not.
#[test]
fn a_file_is_sent() {
    let scratch = Scratch::new();
    let path = scratch.join("segment");
    on_shard(async move |effects| {
        let content = pattern(3 << 20);
        let Some(file) = open_direct(&effects, &path).await else { return };
        let mut chunk = effects.buffers().chunk(4 << 20).unwrap();
        chunk.append(&content);
        // Written directly: nothing of it is in the page cache at first.
        file.write_at(vec![chunk.pages(0..content.len())], 0, WriteMode::Durable).await.unwrap();
        let (client, server) = pair(&effects).await;
        for offset in [0, 12_345] {
            let expected = content[offset..].to_vec();
            let (effects2, server, file) = (effects.clone(), server.clone(), file.clone());
            let len = expected.len() as u64;
            effects.spawn(async move {
                effects2.send_file(&server, &file, offset as u64, len).await.unwrap();
            });
            assert_eq!(recv_exactly(&client, expected.len()).await, expected);
        }
        let beyond = effects.send_file(&server, &file, 64 << 20, 10).await;
        assert_eq!(beyond.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    });
}

/// Sleeps end in the order of their deadlines; one that is dropped never fires.
#[test]
fn timers_end_in_order() {
    let order = on_shard(async |effects| {
        let order = Rc::new(RefCell::new(Vec::new()));
        let start = effects.clock().now();
        for delay in [3_u64, 1, 2] {
            let (sleep, order) =
                (effects.clock().sleep_until(start + Duration::from_millis(delay)), Rc::clone(&order));
            effects.spawn(async move {
                sleep.await;
                order.borrow_mut().push(delay);
            });
        }
        drop(effects.sleep(Duration::ZERO));
        while order.borrow().len() < 3 {
            effects.sleep(Duration::from_millis(1)).await;
        }
        assert!(effects.clock().now().since(start) >= Duration::from_millis(3));
        order.take()
    });
    assert_eq!(order, [1, 2, 3]);
}

/// A thread without a ring gets an error for file operations.
#[test]
fn files_need_a_shard() {
    let scratch = Scratch::new();
    let path = scratch.join("file");
    let file = on_shard(async move |effects| {
        let options = OpenOptions { write: true, create: true, direct: false };
        effects.disk().open(&path, options).await.unwrap()
    });
    let mut sync = Box::pin(file.sync());
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(matches!(sync.as_mut().poll(&mut context), std::task::Poll::Ready(Err(_))));
}

/// The ring itself keeps a lock, whoever else lets go of it, and gives it back when it ends.
#[test]
fn a_ring_holds_a_lock_as_long_as_it_lives() {
    let scratch = Scratch::new();
    let path = scratch.join("lock");
    let create = || fs::File::create(&path).unwrap();
    let (held, asked) = (Arc::new(create()), create());
    held.try_lock().unwrap();
    let refused = on_shard(async move |effects| {
        effects.hold_open(&held).unwrap();
        drop(held);
        (asked.try_lock().is_err(), asked)
    });
    assert!(refused.0);
    // The kernel takes the ring down in its own time.
    refused.1.lock().unwrap();
}
