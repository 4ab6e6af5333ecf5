//! Downloads from a local test server that is good, bad or slow.

use ganomaly_data::datasets::Mnist;
use ganomaly_data::{
    About, Checksum, Dataset, Description, Error, FetchOptions, LabeledImages, Progress,
    RemoteFile, Result, fetch,
};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

const CONTENT: &[u8] = b"the right bytes of a small file";
/// `printf 'the right bytes of a small file' | sha256sum`
const SHA256: &str = "adf770321944aa538842336b501b01e1594b5416eefa21d895b4be653d6fce91";

struct OneFile;

impl Dataset for OneFile {
    fn name(&self) -> &str {
        "one"
    }
    fn describe(&self, _: &Path) -> Result<Description> {
        Ok(Description::new(["a"], [1, 1, 1]))
    }
    fn about(&self) -> About {
        About { description: "", homepage: "", licence: "", citation: "" }
    }
    fn files(&self) -> Vec<RemoteFile> {
        vec![RemoteFile {
            name: "file.bin".into(),
            mirrors: vec!["http://127.0.0.1:9/".into()],
            max_bytes: 1000,
            checksum: Checksum::Sha256(SHA256),
        }]
    }
    fn load(&self, data_dir: &Path) -> Result<LabeledImages> {
        LabeledImages::new(vec![0], vec![0], self.describe(data_dir)?, 1)
    }
}

#[derive(Clone, Copy)]
enum Server {
    Good,
    /// Promises more than it sends.
    Truncated,
    Altered,
    Missing,
    /// Sends more than the file's limit, without stating the size.
    Endless,
    /// One byte at a time, slowly.
    Trickle,
    /// Headers, then silence.
    Silent,
}

/// Serves every request in the given way; returns the address and a request counter.
fn serve(kind: Server) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let requests = Arc::new(AtomicUsize::new(0));
    let count = requests.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            count.fetch_add(1, Ordering::SeqCst);
            // The client hangs up on bad servers; that is not a failure here.
            let _ = answer(stream.unwrap(), kind);
        }
    });
    (address, requests)
}

fn answer(mut stream: TcpStream, kind: Server) -> std::io::Result<()> {
    let mut request = [0; 4096];
    let n = stream.read(&mut request)?;
    let request = String::from_utf8_lossy(&request[..n]);
    assert!(request.starts_with("GET /file.bin ") || request.contains("-idx3-ubyte.gz "));
    let head = |status: &str, length: usize| {
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")
    };
    let ok = head("200 OK", CONTENT.len());
    match kind {
        Server::Good => stream.write_all(&[ok.as_bytes(), CONTENT].concat()),
        Server::Truncated => stream.write_all(&[ok.as_bytes(), &CONTENT[..10]].concat()),
        Server::Altered => {
            let altered = CONTENT.to_ascii_uppercase();
            stream.write_all(&[ok.as_bytes(), &altered].concat())
        }
        Server::Missing => stream.write_all(head("404 Not Found", 0).as_bytes()),
        Server::Endless => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
            (0..1000).try_for_each(|_| stream.write_all(&[7; 1000]))
        }
        Server::Trickle => {
            stream.write_all(ok.as_bytes())?;
            CONTENT.iter().try_for_each(|b| {
                std::thread::sleep(Duration::from_millis(200));
                stream.write_all(&[*b])
            })
        }
        Server::Silent => {
            stream.write_all(ok.as_bytes())?;
            std::thread::sleep(Duration::from_secs(20));
            Ok(())
        }
    }
}

fn options(mirror: String) -> FetchOptions {
    FetchOptions {
        mirror: Some(mirror),
        patience: Duration::from_secs(2),
        stall: Duration::from_secs(1),
        min_bytes_per_s: 1024,
        cancel: Arc::default(),
    }
}

#[test]
fn the_right_file_is_fetched_once() {
    let dir = tempfile::tempdir().unwrap();
    let (address, requests) = serve(Server::Good);
    let mut events = Vec::new();
    let folder = fetch(&OneFile, dir.path(), &options(address.clone()), &mut |e| {
        events.push(format!("{e:?}"))
    })
    .unwrap();
    assert_eq!(std::fs::read(folder.join("file.bin")).unwrap(), CONTENT);
    assert_eq!(events.last().unwrap(), "Done(\"file.bin\")");
    assert!(
        events.iter().any(|e| e == &format!("Bytes(\"file.bin\", {0}, Some({0}))", CONTENT.len()))
    );

    let mut present = false;
    fetch(&OneFile, dir.path(), &options(address.clone()), &mut |e| {
        present |= matches!(e, Progress::Present(_))
    })
    .unwrap();
    assert!(present && requests.load(Ordering::SeqCst) == 1, "a good file is not fetched again");

    std::fs::write(folder.join("file.bin"), "rotten").unwrap();
    fetch(&OneFile, dir.path(), &options(address), &mut |_| {}).unwrap();
    assert_eq!(
        std::fs::read(folder.join("file.bin")).unwrap(),
        CONTENT,
        "a rotten one is replaced"
    );
}

#[test]
fn bad_servers_are_given_up_with_a_reason_and_leave_nothing() {
    for (kind, expected) in [
        (Server::Truncated, "broken off after 10"),
        (Server::Altered, "wrong contents: SHA-256 is"),
        (Server::Missing, "404"),
        (Server::Endless, "more than the 1000 bytes expected"),
        (Server::Trickle, "too slow: "),
        (Server::Silent, "nothing came for 1 s"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (address, _) = serve(kind);
        let started = Instant::now();
        let message = fetch(&OneFile, dir.path(), &options(address.clone()), &mut |_| {})
            .unwrap_err()
            .to_string();
        for words in ["file.bin could not be downloaded", &address, expected, "--mirror"] {
            assert!(message.contains(words), "{message:?} should contain {words:?}");
        }
        assert!(started.elapsed() < Duration::from_secs(8), "{expected}: given up too late");
        let left = std::fs::read_dir(dir.path().join("one")).unwrap().count();
        assert_eq!(left, 0, "{expected}: something was left behind");
    }
}

#[test]
fn other_files_of_the_same_name_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (address, _) = serve(Server::Good);
    for (dataset, sha256) in [
        (Mnist::digits(), "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
        (Mnist::fashion(), "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"),
    ] {
        let message =
            fetch(&dataset, dir.path(), &options(address.clone()), &mut |_| {}).unwrap_err();
        let message = message.to_string();
        let folder = dir.path().join(dataset.name()).display().to_string();
        let wrong = format!("SHA-256 of the unpacked file is {SHA256}, expected {sha256}");
        for words in ["train-images-idx3-ubyte.gz could not", &folder, &wrong] {
            assert!(message.contains(words), "{message:?} should contain {words:?}");
        }
    }
}

#[test]
fn no_server_and_no_folder_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let nobody = options("http://127.0.0.1:9".into());
    let message = fetch(&OneFile, dir.path(), &nobody, &mut |_| {}).unwrap_err().to_string();
    assert!(message.contains("http://127.0.0.1:9/file.bin"), "{message}");
    let file = dir.path().join("a-file");
    std::fs::write(&file, "").unwrap();
    let message = fetch(&OneFile, &file, &nobody, &mut |_| {}).unwrap_err().to_string();
    assert!(message.contains("a-file/one"), "{message}");
}

#[test]
fn a_download_ends_when_it_is_asked_to_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let options =
        FetchOptions { stall: Duration::from_secs(60), ..options(serve(Server::Silent).0) };
    let cancel = options.cancel.clone();
    let started = Instant::now();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        cancel.store(true, Ordering::Relaxed);
    });
    let error = fetch(&OneFile, dir.path(), &options, &mut |_| {}).unwrap_err();
    assert!(matches!(error, Error::Interrupted), "{error}");
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(std::fs::read_dir(dir.path().join("one")).unwrap().count(), 0);
}

#[test]
fn what_a_killed_download_left_is_removed_and_what_another_writes_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("one");
    std::fs::create_dir(&folder).unwrap();
    let old = SystemTime::now() - Duration::from_secs(60);
    for (name, is_old) in [
        ("file.bin.7.partial", true),
        ("file.bin.8.partial", false),
        ("file.bin.x.partial", true),
        ("other.bin.9.partial", true),
    ] {
        let file = File::create(folder.join(name)).unwrap();
        if is_old {
            file.set_modified(old).unwrap();
        }
    }
    fetch(&OneFile, dir.path(), &options(serve(Server::Good).0), &mut |_| {}).unwrap();
    let mut left: Vec<String> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    let expected = ["file.bin", "file.bin.8.partial", "file.bin.x.partial", "other.bin.9.partial"];
    assert_eq!(left, expected);
}
