//! What `kafka-storage format` writes: file for file and record for record what Apache Kafka
//! 4.4.0's tool writes, and what a node makes of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use harness::{Node, binary, free_port, have, root, run, wait_until};

use super::{SHORT, directory};

const CLUSTER: &str = "AAAAAAAAQACAAAAAAAAAAA";
const VOTER: &str = "JEXY6aqzQY-32P5TStzaFg";
const OTHER: &str = "MvDxzVmcRsaTz33bUuRU6A";
const CHECKPOINT: &str = "__cluster_metadata-0/00000000000000000000-0000000000.checkpoint";

/// What to format, with what on the command line.
struct Case {
    roles: &'static str,
    quorum: &'static str,
    args: &'static [&'static str],
}

const DYNAMIC: &str = "controller.quorum.bootstrap.servers=127.0.0.1:19093";
const STATIC: &str = "controller.quorum.voters=1@127.0.0.1:19093";
const BOTH: &str = "broker,controller";

const CASES: &[Case] = &[
    Case { roles: BOTH, quorum: DYNAMIC, args: &["-s"] },
    Case { roles: BOTH, quorum: STATIC, args: &[] },
    Case { roles: BOTH, quorum: STATIC, args: &["-N", "-r", "4.0.1"] },
    Case { roles: BOTH, quorum: DYNAMIC, args: &["-N"] },
    Case { roles: BOTH, quorum: DYNAMIC, args: &["-N", "-r", "3.8"] },
    Case { roles: BOTH, quorum: DYNAMIC, args: &["-s", "-r", "3.8", "-f", "kraft.version=1"] },
    Case {
        roles: BOTH,
        quorum: DYNAMIC,
        args: &["-I", "2@[::1]:65535:MvDxzVmcRsaTz33bUuRU6A,1@:1:JEXY6aqzQY-32P5TStzaFg"],
    },
    Case { roles: BOTH, quorum: DYNAMIC, args: &["-I", "3@h:1:JEXY6aqzQY-32P5TStzaFg"] },
    Case {
        roles: BOTH,
        quorum: DYNAMIC,
        args: &[
            "--standalone",
            "--release-version=4.2-IV1",
            "-S",
            "SCRAM-SHA-256=[name=alice,salt=\"N3E=\",password=a secret,iterations=4097]",
            "--add-scram",
            "SCRAM-SHA-512=[name=bob,iterations=8192,salt=N3E,saltedpassword=YCE=]",
            "-S",
            "SCRAM-SHA-512=[name=ü,salt=,password=ß]",
            "-f",
            "group.version=0",
        ],
    },
    Case { roles: "broker", quorum: DYNAMIC, args: &[] },
    Case { roles: "broker", quorum: DYNAMIC, args: &["-N"] },
    Case { roles: "broker", quorum: DYNAMIC, args: &["-I", "3@h:1:JEXY6aqzQY-32P5TStzaFg"] },
    Case { roles: "broker", quorum: DYNAMIC, args: &["-I", "1@h:1:JEXY6aqzQY-32P5TStzaFg"] },
    Case { roles: "broker", quorum: "controller.quorum.voters=2@127.0.0.1:1", args: &["-N"] },
    Case { roles: "controller", quorum: DYNAMIC, args: &["-s"] },
];

/// Formats in `directory`; what was said and what is there.
fn formatted(case: &Case, directory: &Path, tool: &mut Command) -> String {
    let listeners = match case.roles {
        "broker" => "PLAINTEXT://127.0.0.1:19092",
        "controller" => "CONTROLLER://0.0.0.0:19093",
        _ => "PLAINTEXT://127.0.0.1:19092,CONTROLLER://127.0.0.1:19093",
    };
    let text = format!(
        "process.roles={}\nnode.id=1\nlisteners={listeners}\nlog.dirs=d2,d1\n\
         controller.listener.names=CONTROLLER\nmetadata.log.dir=meta\n{}\n",
        case.roles, case.quorum
    );
    fs::write(directory.join("server.properties"), text).expect("a configuration file");
    tool.args(["format", "-c", "server.properties", "-t", CLUSTER]).args(case.args);
    let mut all = run(tool.current_dir(directory), SHORT).success();
    let mut files = BTreeMap::new();
    for dir in ["d1", "d2", "meta", "meta/__cluster_metadata-0"] {
        let Ok(entries) = fs::read_dir(directory.join(dir)) else { continue };
        for entry in entries.map(|entry| entry.expect("an entry")) {
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.path().is_file() && name != ".lock" {
                files.insert(format!("{dir}/{name}"), entry.path());
            }
        }
    }
    for (name, path) in files {
        all += &format!("{name}\n");
        if name.ends_with("meta.properties") {
            let text = fs::read_to_string(path).expect("text");
            let mut lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
            lines.sort_unstable();
            all += &format!("{}\n", lines.join("\n"));
        } else {
            all += &dumped(&path).replace(&path.display().to_string(), &name);
        }
    }
    masked(&all)
}

/// The records of a file of metadata.
fn dumped(path: &Path) -> String {
    let mut dump = Command::new(binary());
    dump.args(["kafka-dump-log", "--cluster-metadata-decoder", "--files"]).arg(path);
    run(&mut dump, SHORT).success()
}

/// Hides times, checksums and random ids of directories.
fn masked(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let id = out.ends_with("directory.id=") || out.ends_with("voterDirectoryId\":\"");
        let given = rest.starts_with(VOTER) || rest.starts_with(OTHER);
        let length = match id && !given {
            true => 22,
            false if digits == 13 || (out.ends_with("crc: ") && digits > 0) => digits,
            false => first.len_utf8(),
        };
        let hidden = length > first.len_utf8();
        out.push_str(if hidden { "*" } else { &rest[..length] });
        rest = &rest[length..];
    }
    out
}

#[test]
fn what_is_formatted_is_what_apache_kafka_writes() {
    if !have("formatting", &["java", "mvn"]) {
        return;
    }
    for case in CASES {
        let (ours, theirs) = (directory(), directory());
        let mut tool = Command::new(binary());
        let ours = formatted(case, ours.path(), tool.arg("kafka-storage"));
        let mut tool = Command::new(root().join("tests/oracle/java/run"));
        let tool = tool.args(["codec", "kafka.tools.StorageTool"]).env("LC_ALL", "C.UTF-8");
        let theirs = formatted(case, theirs.path(), tool);
        assert!(theirs.contains("meta/meta.properties\n"), "{theirs}");
        assert_eq!(ours, theirs, "{} {} {:?}", case.roles, case.quorum, case.args);
    }
}

/// A directory with `server.properties` and its port.
fn configured() -> (tempfile::TempDir, u16) {
    let directory = directory();
    let port = free_port();
    super::configure(directory.path(), port, "");
    (directory, port)
}

fn format(directory: &Path, args: &[&str]) -> harness::command::Finished {
    let mut command = Command::new(binary());
    command.args(["kafka-storage", "format", "-t", CLUSTER, "-c"]);
    command.arg(directory.join("server.properties")).args(args);
    run(&mut command, SHORT)
}

/// Why a node doesn't start.
fn refusal(directory: &Path) -> String {
    let mut command = Command::new(binary());
    command.args(["start", "--admin", "none", "--config"]);
    let finished = run(command.arg(directory.join("server.properties")), SHORT);
    assert_eq!(finished.code, Some(1), "{}", finished.stdout);
    finished.stderr
}

#[test]
fn credentials_given_to_formatting_stay_in_the_metadata() {
    let (directory, port) = configured();
    let controller = format!("1@127.0.0.1:{}:{VOTER}", port + 1);
    let scram = "SCRAM-SHA-256=[name=alice,password=secret]";
    format(directory.path(), &["-I", &controller, "-S", scram]).success();
    let mut node = Node::configured(directory.path(), port);
    node.stop();
    node.launch();
    node.stop();
    let metadata = directory.path().join("data/meta/__cluster_metadata-0");
    let log = dumped(&metadata.join("00000000000000000000.log"));
    let written = log.matches("USER_SCRAM_CREDENTIAL_RECORD").count();
    assert_eq!(written, 1, "{log}");
    assert!(log.contains("\"name\":\"alice\",\"mechanism\":1"), "{log}");
    let checkpoint = dumped(&metadata.parent().expect("a parent").join(CHECKPOINT));
    assert!(checkpoint.contains(VOTER) && checkpoint.contains("alice"), "{checkpoint}");
    if have("our credentials", &["java", "mvn"]) {
        // Apache Kafka finds them there.
        let apache = Node::apache(directory.path(), port);
        let mut describe = Command::new(root().join("tests/oracle/java/run"));
        describe.args(["broker", "kafka.admin.ConfigCommand", "--bootstrap-server"]);
        describe.args([&apache.address(), "--describe", "--entity-type", "users"]);
        let said = run(&mut describe, SHORT).success();
        let told = "SCRAM credential configs for user-principal 'alice' are \
                    SCRAM-SHA-256=iterations=4096";
        assert!(said.contains(told), "{said}");
    }
}

#[test]
fn a_quorum_of_others_is_formatted_and_not_served() {
    for (args, why) in [
        (format!("1@127.0.0.1:1:{VOTER},2@127.0.0.1:2:{OTHER}"), format!("2 ({OTHER})")),
        (format!("2@127.0.0.1:2:{OTHER}"), format!("2 ({OTHER})")),
    ] {
        let (directory, _) = configured();
        format(directory.path(), &["-I", &args]).success();
        let told = refusal(directory.path());
        assert!(told.contains("has other voters than node 1") && told.contains(&why), "{told}");
    }
    let (directory, _) = configured();
    format(directory.path(), &["--no-initial-controllers"]).success();
    let told = refusal(directory.path());
    assert!(told.contains("names no voters") && told.contains("--standalone"), "{told}");
}

/// Kept to be killed.
struct Holder(Child);

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_directory_that_a_node_holds_is_not_formatted_under_it() {
    let (directory, port) = configured();
    format(directory.path(), &["-s"]).success();
    let node = Node::configured(directory.path(), port);
    let emptied = directory.path().join("data/d2");
    // The node writes these when it serves already; one that came later would be found there.
    let written = ["cleaner-offset", "log-start-offset", "recovery-point-offset"];
    let written = written.map(|name| format!("{name}-checkpoint"));
    wait_until("the checkpoints are written", SHORT, || {
        let there = |name: &str| emptied.join(name).exists();
        written.iter().all(|name| there(name)) && there("recovery-marks")
    });
    for entry in fs::read_dir(&emptied).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.file_name().is_some_and(|name| name != ".lock") {
            fs::remove_file(path).expect("a file less");
        }
    }
    let again = format(directory.path(), &["-s", "-g"]);
    assert_eq!((again.code, again.stdout.as_str()), (Some(1), ""));
    assert!(again.stderr.contains("d2/.lock") && again.stderr.contains("another process"));
    assert_eq!(again.stderr.lines().count(), 1, "{}", again.stderr);
    assert!(!emptied.join("meta.properties").exists());
    drop(node);
    format(directory.path(), &["-s", "-g"]).success();
    assert!(emptied.join("meta.properties").exists());
}

#[test]
fn variables_move_what_is_formatted_as_they_move_what_is_served() {
    let (directory, _) = configured();
    let moved = directory.path().join("moved");
    let mut command = Command::new(binary());
    command.args(["kafka-storage", "format", "-s", "-t", CLUSTER, "-c"]);
    command.arg(directory.path().join("server.properties"));
    command.env("KAFKA_LOG_DIRS", &moved).env("KAFKA_METADATA_LOG_DIR", &moved);
    let said = run(&mut command, SHORT).success();
    assert!(said.contains(&format!("voter directory {} with", moved.display())), "{said}");
    assert!(!directory.path().join("data").exists());
    // The node finds it there, too.
    let mut start = Command::new(binary());
    start.args(["start", "--admin", "none", "--config"]);
    start.arg(directory.path().join("server.properties"));
    start.env("KAFKA_LOG_DIRS", &moved).env("KAFKA_METADATA_LOG_DIR", &moved);
    let node = start.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("a node");
    let mut node = Holder(node);
    let mut line = String::new();
    let stdout = node.0.stdout.take().expect("a pipe");
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).expect("a line");
    assert!(line.contains(&format!("serves cluster {CLUSTER}")), "{line}");
}

/// As Apache Kafka 4.3.1 formats one, and never started on it: with the features it chose, so that
/// it can take the directory back.
#[test]
fn a_directory_that_an_older_release_formatted_keeps_its_features() {
    if !have("4.3.1's directory", &["java", "mvn"]) {
        return;
    }
    let jars = harness::root().join("tests/oracle/jars");
    let jars = run(Command::new(jars).arg("broker"), harness::DOWNLOAD).success();
    for standalone in [true, false] {
        let (directory, port) = configured();
        let properties = directory.path().join("server.properties");
        if !standalone {
            let text = fs::read_to_string(&properties).expect("the configuration");
            let quorum = format!("controller.quorum.voters=1@127.0.0.1:{}", port + 1);
            let lines = text.lines().map(|line| match line.split_once('=') {
                Some(("controller.quorum.bootstrap.servers", _)) => quorum.as_str(),
                _ => line,
            });
            fs::write(&properties, lines.collect::<Vec<_>>().join("\n")).expect("another one");
        }
        let mut java = Command::new("java");
        java.args(["-Xmx256m", "-cp", jars.trim(), "kafka.tools.StorageTool", "format"]);
        java.args(["-t", "AAAAAAAAAAAAAAAAAAAAZg", "-c"]).arg(&properties);
        if standalone {
            java.arg("--standalone");
        }
        run(&mut java, SHORT).success();
        let mut node = Node::configured(directory.path(), port);
        node.stop();
        let log = directory.path().join("data/meta/__cluster_metadata-0/00000000000000000000.log");
        let mut dump = Command::new(binary());
        dump.args(["kafka-dump-log", "--cluster-metadata-decoder", "--files"]).arg(log);
        let said = run(&mut dump, SHORT).success();
        // 4.3-IV0; a directory of our own begins with a later one.
        assert!(said.contains("\"metadata.version\",\"featureLevel\":30"), "{said}");
        assert!(said.contains("\"share.version\",\"featureLevel\":1"), "{said}");
    }
}
