"""The faults that are caused on purpose, what holds, and the tests that cause them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One line of docs/reliability.md.

    Attributes:
        fault: what is done.
        held: what is seen in every try, unless a test fails.
        suite, slow: the tests, and those of larger figures, as `FILE::FUNCTION`; one function may be in both.
    """

    fault: str
    held: str
    suite: tuple[str, ...] = ()
    slow: tuple[str, ...] = ()

    def by_size(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """The tests of the suite, and the slow ones."""
        return ("suite", self.suite), ("slow", self.slow)


KILLS, LIMITS, MANY = "tests/faults/test_kills.py", "tests/faults/test_limits.py", "tests/faults/test_many_processes.py"
KILL, WORKERS = "tests/running/test_kill.py", "tests/experiments/test_workers.py"
WRITER = f"{KILLS}::test_a_command_killed_while_it_writes_harms_nothing"
TOKENS = f"{KILLS}::test_a_cache_of_tokens_killed_while_it_is_written_is_written_anew"
PHASES = "tests/faults/test_phases.py::test_a_signal_in_any_phase_loses_nothing"
SIGNALS = f"{KILLS}::test_a_run_stopped_continued_hung_up_or_killed_ends_the_same"
CLI_KILLS = f"{KILL}::test_the_command_line_killed_and_resumed_until_it_is_done_leaves_the_same_run"
TOGETHER = f"{MANY}::test_commands_on_one_study_that_are_killed_finish_each_cell_once"
PARALLEL = f"{MANY}::test_a_run_of_two_processes_killed_until_it_is_done_is_the_same"
FUZZ_FILE = "tests/manifest/test_fuzz.py"
FUZZ = f"{FUZZ_FILE}::test_mutations_of_a_valid_manifest_are_resolved_or_refused_with_a_place_and_at_once"
ANYTHING = (
    f"{FUZZ_FILE}::test_any_tables_are_resolved_or_refused_with_a_message",
    f"{FUZZ_FILE}::test_any_bytes_are_refused_with_a_message_that_names_the_file",
)
CHECKPOINT = "tests/running/test_checkpoint.py"
SAME = "the same weights and records, bit for bit"

ROWS = (
    Row(
        "SIGKILL while a run trains and saves, in forks",
        SAME,
        (f"{KILL}::test_kills_at_random_times_change_nothing",),
        (f"{KILL}::test_kills_at_random_times_change_nothing",),
    ),
    Row("SIGKILL of the command line, then `resume`", SAME, (CLI_KILLS,), (CLI_KILLS,)),
    Row("SIGSTOP, SIGCONT, SIGHUP, SIGPIPE, SIGTERM, SIGINT, SIGKILL from loading to the end", SAME, (SIGNALS,), (SIGNALS,)),
    Row("each of those signals in each of ten phases of a run and its report", SAME, (PHASES,), (PHASES,)),
    Row("SIGKILL while `report`, `track` and `export` write", "the run is unchanged; the next try succeeds", (WRITER,), (WRITER,)),
    Row("SIGKILL while the cache of tokens is written", "complete or absent; written again", (TOKENS,), (TOKENS,)),
    Row("two and three commands on one study, workers and commands killed", "each cell is finished once", (), (TOGETHER,)),
    Row("four commands on a study of 24 cells, workers killed", "each cell is finished once", (),
        (f"{WORKERS}::test_four_commands_and_many_kills_finish_each_of_24_cells_once",)),
    Row("`--jobs 8` on few cores", "every cell finishes", (), (f"{MANY}::test_more_jobs_than_cores_finish_every_cell",)),
    Row("SIGKILL of a process, or the launcher, of `--processes 2`", SAME, (), (PARALLEL,)),
    Row(
        "the launcher of `--processes` is killed",
        "its processes save and end",
        ("tests/parallel/test_command_line.py::test_a_process_ends_with_its_parent",),
        ("tests/parallel/test_command_line.py::test_the_processes_of_a_launcher_that_is_killed_save_and_end",),
    ),
    Row("the parent of a study's workers is killed", "its workers save and end", (f"{WORKERS}::test_workers_end_when_their_parent_is_killed",)),
    Row(
        "any sequence of run, kill, interrupt, resume, overwrite, report, branch, damage (steps)",
        "nothing finished is lost",
        ("tests/faults/test_sequences.py::test_after_any_sequence_nothing_finished_is_lost",),
        ("tests/faults/test_sequences.py::test_after_any_long_sequence_nothing_finished_is_lost",),
    ),
    Row(
        "little memory, few open files, small files, for six commands",
        "one message, or success; existing files stay",
        (f"{LIMITS}::test_where_something_is_scarce_a_command_ends_with_a_message",),
        (f"{LIMITS}::test_where_something_is_scarce_a_command_ends_with_a_message",),
    ),
    Row("a read-only directory of another user", "reading works; a command that must write there ends with one message",
        (f"{LIMITS}::test_a_directory_of_another_user_is_read_and_not_written",)),
    Row("umask 077", "private files; continued and reported", (f"{LIMITS}::test_with_a_strict_umask_all_is_private_and_can_be_continued",)),
    Row("names with newlines, 255 bytes, escapes, other scripts", "resumed, diagnosed, reported",
        (f"{LIMITS}::test_a_directory_may_have_any_name", f"{LIMITS}::test_a_name_that_is_too_long_is_refused")),
    Row("files with a date in the future", "the same records", (f"{LIMITS}::test_files_from_the_future_change_nothing",)),
    Row("the clock is set back by 30 days during a run", "the same weights and records; no command waits", (),
        (f"{LIMITS}::test_a_clock_that_is_set_back_during_a_run_changes_nothing",)),
    Row("no more processes and threads allowed, as another user", "one message, or success; existing files stay",
        (f"{LIMITS}::test_where_no_process_can_be_started_a_command_says_so",)),
    Row(
        "a disk that is full under `run`, `report`, `export`, `track`",
        "one message; the run is unchanged",
        ("tests/faults/test_full_disk.py::test_a_command_on_a_full_disk_says_so",),
    ),
    Row("a disk that is full under W&B", "the run finishes, or a message; the records are complete", (),
        ("tests/faults/test_full_disk.py::test_a_disk_that_is_full_under_wandb_does_not_touch_the_run",)),
    Row(
        "a disk that is full under the cache of tokens",
        "a warning; no incomplete file stays",
        ("tests/faults/test_full_disk.py::test_tokens_that_do_not_fit_cost_a_warning",),
    ),
    Row(
        "a disk that is full under the compiled kernels",
        "a warning; the run finishes",
        (),
        ("tests/faults/test_full_disk.py::test_kernels_that_cannot_be_kept_are_used_all_the_same",),
    ),
    Row(
        "a disk that is full or broken while a checkpoint is written",
        "a warning; saved files stay",
        ("tests/running/test_disk.py::test_a_checkpoint_that_cannot_be_written_costs_a_warning_and_the_run_goes_on",),
    ),
    Row(
        "a full or read-only disk under the cache of tokens",
        "a warning; no incomplete file stays",
        ("tests/plugins/test_text_cache.py::test_a_disk_that_is_full_or_read_only_costs_a_warning_and_leaves_nothing_behind",),
    ),
    Row(
        "a file of a run flipped, cut, emptied, removed, or made a link, pipe or folder",
        "a message with the place, or success; nothing else is written",
        ("tests/cli/test_damaged_files.py::test_every_file_of_a_run_may_be_damaged",),
        ("tests/cli/test_damaged_files.py::test_every_file_of_a_run_may_be_damaged_often",),
    ),
    Row(
        "the same for a study",
        "a message with the place, or success; nothing else is written",
        ("tests/cli/test_damaged_study.py::test_every_file_of_a_study_may_be_damaged",),
        ("tests/cli/test_damaged_study.py::test_every_file_of_a_study_may_be_damaged_often",),
    ),
    Row("a manifest edited after the checkpoint", "refused, with an explanation of the right way", ("tests/cli/test_edited_manifest.py::test_a_run_whose_manifest_was_edited_is_refused",)),
    Row("one bit of a checkpoint flipped", "noticed", (f"{CHECKPOINT}::test_two_hundred_flipped_bits_are_noticed",)),
    Row("a checkpoint cut short", "noticed", (f"{CHECKPOINT}::test_two_hundred_truncations_are_noticed",)),
    Row("a pipe in place of a file of a run", "no command waits", ("tests/test_reading.py::test_a_pipe_in_a_run_directory_holds_nobody_up",)),
    Row(
        "a hostile directory: pickles, escapes, links to other places, files of 1 TB, import paths",
        "nothing is executed; nothing else is written",
        ("tests/faults/test_stranger.py::test_nothing_in_it_is_executed_and_nothing_else_written_to",
         "tests/faults/test_stranger.py::test_import_paths_are_not_followed_but_where_that_is_trusted"),
    ),
    Row("mutated manifests, in TOML, JSON and YAML", "resolved, or refused with a place, within 2 s", (FUZZ,), (FUZZ,)),
    Row("arbitrary tables and bytes as a manifest", "resolved, or refused with a message", ANYTHING, ANYTHING),
    Row("broken plugins", "listed with the reason; the others work",
        ("tests/registry/test_discover.py::test_a_broken_plugin_is_listed_with_its_reason_and_the_others_work",)),
    Row("two plugins with the same name", "neither is used; both are named", ("tests/registry/test_discover.py::test_of_two_strangers_with_one_name_neither_wins",)),
    Row("a plugin for another version of AltGrad", "listed with the version it needs",
        ("tests/registry/test_versions.py::test_a_plugin_for_another_version_is_listed_with_the_version_it_needs",)),
    Row("an entry point whose package was removed", "listed with the reason",
        ("tests/registry/test_versions.py::test_the_entry_point_of_a_package_that_is_gone_is_listed",)),
    Row("a monitor that writes to weights or gradients, in seven ways", "named once; a strict run ends",
        ("tests/running/test_only_looking.py::test_a_monitor_that_writes_is_named_once",
         "tests/running/test_only_looking.py::test_in_a_strict_run_it_ends_the_run_before_anything_of_it_is_saved")),
)  # fmt: skip
