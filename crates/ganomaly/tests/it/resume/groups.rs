//! Runs that train together, as on a GPU.

use super::*;

/// The results of groups on a GPU's twin, by run; none if there is no C compiler.
fn lockstep(
    bench: &Bench,
    configs: &[RunConfig],
    by: &Interrupter,
) -> Option<Vec<anyhow::Result<Outcome>>> {
    lockstep_with(bench, configs, by, (&by.cancel, &Cancel::default()))
}

/// The same, ended by `cancel`; the last run's claim is lost when `lost` is set.
fn lockstep_with(
    bench: &Bench,
    configs: &[RunConfig],
    by: &Interrupter,
    (cancel, lost): (&Cancel, &Cancel),
) -> Option<Vec<anyhow::Result<Outcome>>> {
    let kept = &Cancel::default();
    let all: Vec<Checkpoints> = configs.iter().map(|c| bench.checkpoints(c, every(1))).collect();
    let names: Vec<String> = configs.iter().map(|c| c.run_name().unwrap()).collect();
    let members: Vec<Member<'_>> = configs
        .iter()
        .zip(&all)
        .zip(&names)
        .enumerate()
        .map(|(at, ((config, checkpoints), name))| {
            let lost = if at + 1 == configs.len() { lost } else { kept };
            Member { config, name, checkpoints, lost }
        })
        .collect();
    match train_group(&members, DeviceName::Twin, &bench.store, by, cancel) {
        Err(e) if format!("{e:#}").contains("C compiler") => {
            skip::missing(&format!("{e:#}"));
            None
        }
        Err(e) => Some(ganomaly_runner::train::for_each(e, configs.len())),
        Ok(outcomes) => Some(outcomes),
    }
}

#[test]
fn groups_resume_at_their_epochs_and_each_run_ends_the_same() {
    let configs = configs(&["device=\"twin\"", "abnormal_class=[0,1,2]", "lr=1e-3"]);
    let Some(whole) = lockstep(&Bench::new(), &configs, &Interrupter::default()) else { return };
    let whole: Vec<Outcome> = whole.into_iter().map(Result::unwrap).collect();
    let check = |bench: &Bench, by: &Interrupter, what: &str| {
        for (outcome, whole) in lockstep(bench, &configs, by).unwrap().into_iter().zip(&whole) {
            same(&outcome.unwrap(), whole, what);
        }
    };
    // During its first epoch (noticed between training and scoring), and between the first two.
    for by in [Interrupter::after(2), Interrupter { at_word: "epoch 1:", ..Interrupter::default() }]
    {
        let bench = Bench::new();
        for outcome in lockstep(&bench, &configs, &by).unwrap() {
            interrupted(outcome);
        }
        for config in &configs {
            assert_eq!(names(&bench.folder(config)).len(), 1);
        }
        let again = Interrupter::default();
        check(&bench, &again, "a group that was interrupted");
        assert!(again.said().contains("resumed at epoch"), "{}", again.said());
    }
    // One run has done an epoch less; the others also have a checkpoint there, and go back to it.
    let newest = "epoch4-step0.safetensors";
    let bench = Bench::new();
    check(&bench, &Interrupter::default(), "with checkpoints");
    assert_eq!(names(&bench.folder(&configs[0])), ["epoch3-step0.safetensors", newest]);
    fs::remove_file(bench.folder(&configs[1]).join(newest)).unwrap();
    let again = Interrupter::default();
    check(&bench, &again, "one run has done less");
    assert_eq!(again.said().matches("resumed at epoch 3, step 0").count(), 3, "{}", again.said());
    // One has none left: the others do not wait for it.
    fs::remove_dir_all(bench.folder(&configs[2])).unwrap();
    let again = Interrupter::default();
    check(&bench, &again, "one run again");
    assert_eq!(again.said().matches("resumed after the last epoch").count(), 2, "{}", again.said());
    // One is damaged.
    let damaged = bench.folder(&configs[0]).join(newest);
    let mut bytes = fs::read(&damaged).unwrap();
    bytes[9000] ^= 4;
    fs::write(&damaged, bytes).unwrap();
    let again = Interrupter::default();
    check(&bench, &again, "one damaged");
    assert!(again.said().contains("checkpoint refused"), "{}", again.said());
}

#[test]
fn on_a_gpu_a_loss_that_is_not_a_number_ends_its_run_and_no_other() {
    let mut configs = configs(&["device=\"twin\"", "abnormal_class=[0,1]"]);
    let Some(whole) = lockstep(&Bench::new(), &configs[..1], &Interrupter::default()) else {
        return;
    };
    configs[1].settings.insert("lr".into(), (1e30).into());
    let bench = Bench::new();
    let failed = lockstep(&bench, &configs[1..], &Interrupter::default()).unwrap().remove(0);
    let error = format!("{:#}", failed.err().unwrap());
    assert!(
        error.contains("epoch 1, step")
            && error.contains("the mean loss")
            && error.contains("once an epoch"),
        "{error}"
    );
    let fine = lockstep(&bench, &configs[..1], &Interrupter::default()).unwrap().remove(0);
    same(&fine.unwrap(), whole[0].as_ref().unwrap(), "the other run");
}

/// Another process then has the run: here it must neither be trained nor written any further.
#[test]
fn a_group_continues_without_a_run_whose_claim_is_lost() {
    let configs = configs(&["device=\"twin\"", "abnormal_class=[0,1]"]);
    let Some(whole) = lockstep(&Bench::new(), &configs, &Interrupter::default()) else { return };
    let bench = Bench::new();
    let by = Interrupter { at_word: "epoch 1:", ..Interrupter::default() };
    let cancels = (&Cancel::default(), &by.cancel);
    let mut outcomes = lockstep_with(&bench, &configs, &by, cancels).unwrap().into_iter();
    same(&outcomes.next().unwrap().unwrap(), whole[0].as_ref().unwrap(), "the other run");
    interrupted(outcomes.next().unwrap());
    assert!(!names(&bench.folder(&configs[0])).is_empty());
    assert!(names(&bench.folder(&configs[1])).is_empty(), "its checkpoints are another process's");
}
