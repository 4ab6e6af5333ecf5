use super::*;
use std::sync::Barrier;

fn dead_pid() -> u32 {
    // Above the largest possible process number.
    (1 << 30) - 7
}

fn write(results: &Path, number: u64, owner: &Owner) {
    fs::create_dir_all(claims_folder(results)).unwrap();
    let path = path_of(&claims_folder(results), "run", number);
    fs::write(path, toml::to_string(owner).unwrap()).unwrap();
}

fn age(results: &Path, number: u64, seconds: u64) {
    let path = path_of(&claims_folder(results), "run", number);
    let file = File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(seconds)).unwrap();
}

fn some_owner(results: &Path) -> Owner {
    let claims = Claims::open(results, STALE_AFTER).unwrap();
    Held::new(&claims.shared, "run", 1).owner
}

/// Many threads claim at once; returns how many succeed while all keep what they got.
fn race(results: &Path, threads: usize) -> usize {
    let (start, end) = (Barrier::new(threads), Barrier::new(threads));
    std::thread::scope(|scope| {
        let one = |_| {
            scope.spawn(|| {
                let claims = Claims::open(results, STALE_AFTER).unwrap();
                start.wait();
                let taken = claims.take("run");
                end.wait();
                matches!(taken.unwrap(), Taken::Acquired(_))
            })
        };
        let all: Vec<_> = (0..threads).map(one).collect();
        all.into_iter().map(|t| usize::from(t.join().unwrap())).sum()
    })
}

#[test]
fn of_many_one_gets_a_run_that_is_free_or_left_by_the_dead() {
    let folder = tempfile::tempdir().unwrap();
    let results = folder.path();
    let owner = some_owner(results);
    for round in 0..20 {
        assert_eq!(race(results, 12), 1, "free, round {round}");
        assert!(numbers(&claims_folder(results), "run").unwrap().is_empty());
        write(results, 3, &Owner { pid: dead_pid(), ..owner.clone() });
        assert_eq!(race(results, 12), 1, "owner dead, round {round}");
        assert!(numbers(&claims_folder(results), "run").unwrap().is_empty());
        write(results, 1, &Owner { machine: "another".into(), ..owner.clone() });
        age(results, 1, 61);
        assert_eq!(race(results, 12), 1, "no heartbeat, round {round}");
    }
}

#[test]
fn a_claim_is_stale_by_its_own_measure() {
    let folder = tempfile::tempdir().unwrap();
    let results = folder.path();
    let claims = Claims::open(results, STALE_AFTER).unwrap();
    let taken = |claims: &Claims| matches!(claims.take("run").unwrap(), Taken::Acquired(_));
    let owner = some_owner(results);
    let far = Owner { machine: "another".into(), pid: dead_pid(), ..owner.clone() };

    // A process of another machine with this number is not this process.
    write(results, 1, &far);
    assert!(!taken(&claims));
    assert!(claims.alive("run").unwrap().is_some());
    age(results, 1, 59);
    assert!(!taken(&claims));
    write(results, 1, &Owner { stale_after_s: 600.0, ..far.clone() });
    age(results, 1, 300);
    assert!(!taken(&claims));
    age(results, 1, 601);
    assert!(claims.alive("run").unwrap().is_none());
    assert!(taken(&claims));

    // A live process on this machine that has been silent for long, and a claim that was never
    // written. The machine's own clock decides, whatever the file's time is.
    let silent = |s: f64| host::uptime_s().map(|now| now - s);
    write(results, 1, &Owner { uptime_s: silent(59.0), ..owner.clone() });
    age(results, 1, 3600);
    assert!(!taken(&claims));
    write(results, 1, &Owner { uptime_s: silent(61.0), ..owner.clone() });
    assert!(taken(&claims));
    write(results, 1, &Owner { uptime_s: None, ..owner });
    assert!(!taken(&claims));
    age(results, 1, 61);
    assert!(taken(&claims));
    let path = path_of(&claims_folder(results), "run", 1);
    fs::write(path, "").unwrap();
    assert!(!taken(&claims));
    age(results, 1, 61);
    assert!(taken(&claims));
    // All claims taken were given back.
    assert!(numbers(&claims_folder(results), "run").unwrap().is_empty());
}

#[test]
fn claims_on_runs_that_are_done_go_with_their_dead_owners() {
    let folder = tempfile::tempdir().unwrap();
    let results = folder.path();
    let claims = Claims::open(results, STALE_AFTER).unwrap();
    let owner = some_owner(results);
    write(results, 2, &Owner { pid: dead_pid(), ..owner.clone() });
    claims.remove_done(|_| false).unwrap();
    assert_eq!(numbers(&claims_folder(results), "run").unwrap(), [2], "it is not done");
    claims.remove_done(|run| run == "run").unwrap();
    assert!(numbers(&claims_folder(results), "run").unwrap().is_empty());
    write(results, 1, &owner);
    claims.remove_done(|_| true).unwrap();
    assert_eq!(numbers(&claims_folder(results), "run").unwrap(), [1], "its owner is alive");
}

#[test]
fn a_heartbeat_keeps_a_claim_and_notices_when_it_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let results = folder.path();
    let claims = Claims::open(results, Duration::from_millis(300)).unwrap();
    let Taken::Acquired(claim) = claims.take("run").unwrap() else { panic!("it is free") };
    let others = Claims::open(results, Duration::from_millis(300)).unwrap();
    std::thread::sleep(Duration::from_millis(900));
    assert!(matches!(others.take("run").unwrap(), Taken::Held));
    let user = Cancel::default();
    let cancel = claim.cancel(&user);
    assert!(!cancel.is_set() && !claim.is_lost());

    write(results, 2, &Owner { id: "a taker".into(), ..claim.held.owner.clone() });
    let since = Instant::now();
    while !claim.is_lost() && since.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(cancel.is_set() && !user.is_set());
    drop(claim);
    assert_eq!(numbers(&claims_folder(results), "run").unwrap(), [2], "the taker's stays");
}
