//! Servers and their guards, with real processes: nothing is left running, whoever dies first.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod requirement;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hyper::Method;
use requirement::has_program;
use rustix::process::Signal;
use sweep::exec::guard::{ExitFacts, Order};
use sweep::exec::guards::Guards;
use sweep::exec::leftover::{Leftover, end_leftover};
use sweep::exec::port::{FreePort, PortError, free_port};
use sweep::exec::process::{Ended, GuardBinary, Guarded, Owned};
use sweep::exec::procfs::{self, Identity};
use sweep::exec::ready::ReadyError;
use sweep::exec::server::{ResetError, Server, ServerSpec, StartError};
use sweep::exec::started::End;
use tempfile::TempDir;

/// No test waits longer for anything.
const LIMIT: Duration = Duration::from_secs(60);

/// Answers 503 twice, then 200; `POST /reset` is 200, `POST /busy` 400.
const HTTP_SERVER: &str = r#"
import http.server, sys
looks = 0
class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self, status):
        self.send_response(status); self.send_header("content-length", "5"); self.end_headers()
        self.wfile.write(b"words")
    def do_GET(self):
        global looks
        looks += 1
        self.answer(200 if looks > int(sys.argv[2]) else 503)
    def do_POST(self):
        self.answer(200 if self.path == "/reset" else 400)
print("loading", flush=True)
http.server.ThreadingHTTPServer(("0.0.0.0", int(sys.argv[1])), Handler).serve_forever()
"#;

struct Bench {
    folder: TempDir,
    port: FreePort,
}

impl Bench {
    fn new() -> Self {
        Self {
            folder: TempDir::new().unwrap(),
            port: free_port().unwrap(),
        }
    }

    fn spec(&self, argv: &[&str]) -> ServerSpec {
        ServerSpec {
            argv: argv.iter().map(ToString::to_string).collect(),
            env: BTreeMap::from([("PATH".into(), std::env::var("PATH").unwrap())]),
            cwd: self.folder.path().to_owned(),
            port: self.port.number(),
            ready_path: "/health".into(),
            ready_within: LIMIT,
            stop_grace: Duration::from_secs(30),
            log_path: self.log(),
            container: None,
        }
    }

    fn sh(&self, script: &str) -> ServerSpec {
        self.spec(&["sh", "-c", script])
    }

    fn http(&self, unready_looks: u32) -> ServerSpec {
        let (port, looks) = (self.port.number().to_string(), unready_looks.to_string());
        self.spec(&["python3", "-c", HTTP_SERVER, &port, &looks])
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("logs/server.log")
    }

    /// Waits for a log line that starts with `start` and returns what follows.
    fn logged(&self, start: &str) -> String {
        eventually(|| {
            let log = std::fs::read_to_string(self.log()).unwrap_or_default();
            let whole = log.rsplit_once('\n').map(|(whole, _)| whole.to_owned())?;
            whole
                .lines()
                .find_map(|line| line.strip_prefix(start).map(|rest| rest.trim().to_owned()))
        })
    }

    /// The process whose pid is logged after `start`.
    fn logged_process(&self, start: &str) -> Identity {
        procfs::read(self.logged(start).parse().unwrap())
            .unwrap()
            .identity
    }
}

fn guard() -> GuardBinary {
    GuardBinary::at(env!("CARGO_BIN_EXE_sweep"))
}

fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "it did not happen within {LIMIT:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn gone(process: Identity) {
    eventually(|| (!procfs::is_alive(process)).then_some(()));
}

fn has(program: &str) -> bool {
    has_program(program, program, &["--version"])
}

#[tokio::test]
async fn a_server_is_ready_reset_and_stopped() {
    if !has("python3") {
        return;
    }
    let bench = Bench::new();
    let mut owned = None;
    let mut server = Server::start(&guard(), bench.http(2), |process| owned = Some(process))
        .await
        .unwrap();
    let owned = owned.unwrap();
    assert_eq!(&owned, server.owned());
    assert!(procfs::is_alive(owned.leader));
    assert_eq!(procfs::read(owned.leader.pid).unwrap().group, owned.leader.pid);
    assert_eq!(procfs::read(owned.guard.pid).unwrap().name, "sweep-guard");
    assert!(server.last_words(50).contains("503"));

    server.reset(Method::POST, "/reset").await.unwrap();
    let refused = server.reset(Method::POST, "/busy").await.unwrap_err();
    assert!(matches!(refused, ResetError::Refused { .. }));
    assert_eq!(
        refused.to_string(),
        "reset the server by POST /busy: it answered 400 Bad Request words"
    );

    assert_eq!(server.end(), None);
    let ended = server.stop().await.unwrap();
    assert_eq!(
        ended,
        Ended {
            exit: ExitFacts::Signal(15),
            forced: false
        }
    );
    assert!(!procfs::is_alive(owned.leader) && !procfs::is_alive(owned.guard));
    drop(TcpListener::bind((Ipv4Addr::UNSPECIFIED, bench.port.number())).unwrap());
}

#[tokio::test]
async fn the_environment_is_the_given_one_alone() {
    let bench = Bench::new();
    let mut spec = bench.sh("env; echo end");
    spec.argv[0] = "/bin/sh".into();
    spec.env = BTreeMap::from([
        ("HF_TOKEN".into(), "a secret".into()),
        ("PATH".into(), "/usr/bin:/bin".into()),
    ]);
    let server = Server::spawn(&guard(), spec).await.unwrap();
    assert_eq!(server.ended().await, End::Exit(ExitFacts::Code(0)));
    bench.logged("end");
    let log = std::fs::read_to_string(bench.log()).unwrap();
    let shells_own = ["PWD=", "OLDPWD=", "SHLVL=", "_=", "end"];
    let mut seen: Vec<&str> = log
        .lines()
        .filter(|line| !shells_own.iter().any(|own| line.starts_with(own)))
        .collect();
    seen.sort_unstable();
    assert_eq!(seen, ["HF_TOKEN=a secret", "PATH=/usr/bin:/bin"]);
}

#[tokio::test]
async fn what_cannot_start_says_why() {
    let bench = Bench::new();
    let mut spec = bench.spec(&["no-such-engine", "serve"]);
    spec.env = BTreeMap::from([("PATH".into(), "/nowhere".into())]);
    let message = Server::spawn(&guard(), spec).await.unwrap_err().to_string();
    assert!(
        message.starts_with("start `no-such-engine`: No such file"),
        "{message}"
    );
    assert!(message.contains("/nowhere"), "{message}");

    let mut spec = bench.sh("true");
    spec.cwd = bench.folder.path().join("missing");
    let message = Server::spawn(&guard(), spec).await.unwrap_err().to_string();
    assert!(message.contains("its working folder"), "{message}");
}

#[tokio::test]
async fn a_server_that_ignores_term_is_killed_after_the_grace() {
    let bench = Bench::new();
    let mut spec = bench.sh("trap '' TERM; echo up; while :; do sleep 1000; done");
    spec.stop_grace = Duration::from_millis(50);
    let mut server = Server::spawn(&guard(), spec).await.unwrap();
    bench.logged("up");
    assert_eq!(
        server.stop().await.unwrap(),
        Ended {
            exit: ExitFacts::Signal(9),
            forced: true
        }
    );
}

#[tokio::test]
async fn a_second_stop_shortens_the_grace() {
    let bench = Bench::new();
    let mut spec = bench.sh("trap 'echo asked' TERM; echo up; while :; do sleep 0.01; done");
    spec.stop_grace = Duration::from_secs(1000);
    let mut server = Server::spawn(&guard(), spec).await.unwrap();
    bench.logged("up");
    tokio::select! {
        _ = server.stop() => panic!("it does not stop when asked"),
        asked = tokio::task::spawn_blocking(move || bench.logged("asked")) => asked.unwrap(),
    };
    assert_eq!(
        server.kill().await.unwrap(),
        Ended {
            exit: ExitFacts::Signal(9),
            forced: true
        }
    );
}

#[tokio::test]
async fn a_descendant_in_a_session_of_its_own_is_ended_too() {
    if !has("setsid") {
        return;
    }
    let bench = Bench::new();
    let script =
        r#"setsid sh -c 'trap "" TERM; echo stray $$; while :; do sleep 1000; done' & echo up; wait"#;
    let mut spec = bench.sh(script);
    spec.stop_grace = Duration::from_millis(50);
    let mut server = Server::spawn(&guard(), spec).await.unwrap();
    let stray = bench.logged_process("stray");
    let group = procfs::read(stray.pid).unwrap().group;
    assert_ne!(group, server.owned().leader.pid);
    assert!(server.stop().await.unwrap().forced);
    assert!(!procfs::is_alive(stray));
}

#[tokio::test]
async fn what_a_dead_server_leaves_is_ended_without_being_asked() {
    let bench = Bench::new();
    // The worker ends when it is told to, which shows that the dead leader's group was told.
    let script = r#"sh -c 'echo worker $$; exec sleep 1000' & while ! grep -q worker logs/server.log; do sleep 0.01; done; exit 7"#;
    let mut server = Server::spawn(&guard(), bench.sh(script)).await.unwrap();
    assert_eq!(server.ended().await, End::Exit(ExitFacts::Code(7)));
    assert_eq!(
        server.stop().await.unwrap(),
        Ended {
            exit: ExitFacts::Code(7),
            forced: false
        }
    );
    let worker = bench.logged("worker").parse().unwrap();
    assert!(procfs::read(worker).is_none_or(|process| process.name != "sleep"));
}

#[tokio::test]
async fn a_server_that_is_never_ready_is_stopped_at_the_limit() {
    if !has("python3") {
        return;
    }
    let bench = Bench::new();
    let mut spec = bench.http(1_000_000);
    spec.ready_within = Duration::from_secs(1);
    // However slow this machine is: the server gets as long as it needs to answer at all.
    let error = loop {
        let error = Server::start(&guard(), spec.clone(), |_| {}).await.unwrap_err();
        let StartError::Ready(ReadyError::Late { last_answer, .. }) = &error else {
            panic!("{error}")
        };
        if last_answer != "it never listened" {
            break error;
        }
        spec.ready_within *= 2;
    };
    let message = error.to_string();
    assert!(
        message.contains("/health answers 503 Service Unavailable; its last lines:\n  | "),
        "{message}"
    );
}

#[tokio::test]
async fn a_server_that_dies_is_quoted() {
    let bench = Bench::new();
    let spec = bench.sh("echo loading weights; echo 'CUDA out of memory' >&2; exit 3");
    // A second start appends to the same log, and quotes its own lines alone.
    for _ in 0..2 {
        let error = Server::start(&guard(), spec.clone(), |_| {}).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "the server died before it was ready: exit code 3; its last lines:\n  | loading weights\n  | CUDA out of memory"
        );
    }
}

#[tokio::test]
async fn a_foreign_server_on_the_port_is_named_and_left_alone() {
    let bench = Bench::new();
    let server = Server::spawn(&guard(), bench.sh("exec sleep 1000"))
        .await
        .unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, bench.port.number())).unwrap();
    std::thread::spawn(move || {
        for mut connection in listener.incoming().flatten() {
            let _ = connection.read(&mut [0; 1024]);
            let _ = connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        }
    });
    let Err(ReadyError::Foreign { pid, name, .. }) = server.ready().await else {
        panic!("it is not ours")
    };
    assert_eq!(pid, Some(std::process::id()));
    assert!(name.is_some());
    let leader = server.owned().leader;
    drop(server);
    gone(leader);
}

#[tokio::test]
async fn an_occupied_port_is_refused_with_its_holder() {
    let bench = Bench::new();
    let _holder = TcpListener::bind((Ipv4Addr::LOCALHOST, bench.port.number())).unwrap();
    let error = Server::start(&guard(), bench.sh("true"), |_| panic!("nothing is started"))
        .await
        .unwrap_err();
    let StartError::Port(PortError::Occupied {
        holder: Some(holder), ..
    }) = &error
    else {
        panic!("{error}")
    };
    assert!(
        holder.starts_with(&format!("pid {} (", std::process::id())),
        "{holder}"
    );
}

#[tokio::test]
async fn a_dropped_server_and_a_signalled_guard_leave_nothing() {
    let bench = Bench::new();
    let server = Server::spawn(&guard(), bench.sh("exec sleep 1000"))
        .await
        .unwrap();
    let owned = server.owned().clone();
    drop(server);
    gone(owned.leader);
    gone(owned.guard);

    let mut server = Server::spawn(&guard(), bench.sh("exec sleep 1000"))
        .await
        .unwrap();
    procfs::signal(server.owned().guard, Signal::TERM).unwrap();
    assert_eq!(server.ended().await, End::Exit(ExitFacts::Signal(15)));
    assert_eq!(server.stop().await.unwrap().exit, ExitFacts::Signal(15));
}

#[tokio::test]
async fn a_server_whose_guard_is_killed_is_still_ended_by_stop() {
    let bench = Bench::new();
    let mut server = Server::spawn(&guard(), bench.sh("echo up; sleep 1000"))
        .await
        .unwrap();
    bench.logged("up");
    let leader = server.owned().leader;
    procfs::signal(server.owned().guard, Signal::KILL).unwrap();
    assert_eq!(server.ended().await, End::Exit(ExitFacts::Unseen));
    assert_eq!(
        server.stop().await.unwrap(),
        Ended {
            exit: ExitFacts::Unseen,
            forced: true
        }
    );
    assert!(!procfs::is_alive(leader));
}

/// An order for one of several guards.
fn order(bench: &Bench, script: &str) -> Order {
    let spec = bench.sh(script);
    Order {
        argv: spec.argv,
        env: spec.env,
        cwd: spec.cwd,
        grace_ms: 30_000,
    }
}

#[tokio::test]
async fn a_guard_serves_one_program_after_another_and_lets_nothing_of_one_reach_the_next() {
    if !has("setsid") {
        return;
    }
    let bench = Bench::new();
    let guards = Guards::new(guard());
    let mut served = BTreeSet::new();
    for round in 0..3 {
        let script = format!(
            "setsid sh -c 'echo stray{round} $$; exec sleep 1000' & while ! grep -q stray{round} logs/server.log; do :; done; exit {round}"
        );
        let mut program = Guarded::spawn_among(&guards, &order(&bench, &script), &bench.log())
            .await
            .unwrap();
        served.insert(program.owned().guard);
        assert_eq!(program.exited().await, ExitFacts::Code(round));
        assert!(!program.stop(LIMIT).await.unwrap().forced);
        let stray = bench.logged(&format!("stray{round}")).parse().unwrap();
        assert!(procfs::read(stray).is_none_or(|process| process.name != "sleep"));
    }
    // One that cannot be started costs no guard either.
    let mut absent = order(&bench, "");
    absent.argv = vec!["no-such-program".to_owned()];
    let refused = Guarded::spawn_among(&guards, &absent, &bench.log()).await;
    assert!(
        refused
            .unwrap_err()
            .to_string()
            .starts_with("start `no-such-program`: No such file")
    );
    assert_eq!(served.len(), 1, "{served:?}");

    // A guard that was killed while it had nothing to do is replaced.
    let idle = served.pop_first().unwrap();
    procfs::signal(idle, Signal::KILL).unwrap();
    gone(idle);
    let program = Guarded::spawn_among(&guards, &order(&bench, "exit 5"), &bench.log()).await;
    let mut program = program.unwrap();
    assert_ne!(program.owned().guard, idle);
    assert_eq!(program.exited().await, ExitFacts::Code(5));
    program.stop(LIMIT).await.unwrap();
    assert!(procfs::is_alive(program.owned().guard));
    guards.dismiss().await;
    assert!(!procfs::is_alive(program.owned().guard));
}

/// A run that can be killed: this test binary, running only [`driver`].
struct Run {
    process: std::process::Child,
    owned: Owned,
}

impl Run {
    fn start(bench: &Bench, script: &str) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--nocapture", "driver"])
            .env("DRIVER_FOLDER", bench.folder.path())
            .env("DRIVER_SCRIPT", script)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let owned = BufReader::new(process.stdout.take().unwrap())
            .lines()
            .find_map(|line| serde_json::from_str(line.unwrap().trim_start_matches("test driver ... ")).ok());
        Self {
            process,
            owned: owned.unwrap(),
        }
    }

    /// kill -9, and wait until it is gone.
    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// No test: what [`Run`] runs. It starts a server, prints what it owns, and waits to be killed.
#[test]
#[ignore = "started by other tests"]
fn driver() {
    let (Ok(folder), Ok(script)) = (std::env::var("DRIVER_FOLDER"), std::env::var("DRIVER_SCRIPT")) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let bench = Bench::new();
        let mut spec = bench.sh(&script);
        spec.cwd = PathBuf::from(&folder);
        spec.log_path = Path::new(&folder).join("logs/server.log");
        spec.stop_grace = Duration::from_millis(50);
        let server = Server::spawn(&guard(), spec).await.unwrap();
        println!("{}", serde_json::to_string(server.owned()).unwrap());
        std::future::pending::<()>().await;
    });
}

const STUBBORN: &str = r#"setsid sh -c 'trap "" TERM; echo stray $$; while :; do sleep 1000; done' &
    trap "" TERM; sh -c 'echo worker $$; exec sleep 1000' & echo up $$; while :; do sleep 1000; done"#;

#[test]
fn a_killed_run_takes_everything_with_it() {
    if !has("setsid") {
        return;
    }
    let bench = Bench::new();
    let mut run = Run::start(&bench, STUBBORN);
    let processes = ["stray", "worker", "up"].map(|name| bench.logged_process(name));
    run.kill();
    for process in processes {
        gone(process);
    }
    gone(run.owned.guard);
    assert_eq!(end_leftover(&run.owned, LIMIT).unwrap(), Leftover::Nothing);
}

#[test]
fn what_a_run_killed_with_its_guard_leaves_is_ended_by_its_journal() {
    if !has("setsid") {
        return;
    }
    let bench = Bench::new();
    let mut run = Run::start(&bench, STUBBORN);
    let processes = ["stray", "worker", "up"].map(|name| bench.logged_process(name));
    procfs::signal(run.owned.guard, Signal::KILL).unwrap();
    run.kill();
    gone(run.owned.guard);

    let mut other = run.owned.clone();
    other.boot_id = "another boot".into();
    assert_eq!(end_leftover(&other, LIMIT).unwrap(), Leftover::Nothing);
    let mut other = run.owned.clone();
    (other.leader.start_ticks, other.log) = (other.leader.start_ticks + 1, None);
    assert_eq!(end_leftover(&other, LIMIT).unwrap(), Leftover::Nothing);
    assert!(processes.into_iter().all(procfs::is_alive));

    let Leftover::Killed(count) = end_leftover(&run.owned, LIMIT).unwrap() else {
        panic!("something is left")
    };
    assert!(count >= processes.len(), "{count}");
    assert!(!processes.into_iter().any(procfs::is_alive));
}
