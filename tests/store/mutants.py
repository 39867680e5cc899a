"""Mutants of the Lua scripts: what is changed in which script, beside the test that must fail then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.actions import test_audit

from . import (
    test_cancel,
    test_claim,
    test_fail,
    test_finish,
    test_forget,
    test_join,
    test_line,
    test_listen,
    test_lost,
    test_plain,
    test_put,
    test_release,
    test_retry,
    test_tally,
    test_versions,
)

if TYPE_CHECKING:
    from collections.abc import Callable

#: A script, a text in it, and what replaces it.
Change = tuple[str, str, str]

#: The tests that notice, and what each of them notices.
MUTANTS: dict[Callable[..., None], tuple[Change, ...]] = {
    test_put.test_a_full_queue_takes_the_first_jobs_that_fit_and_says_how_many: (
        ("put", "if maxsize > 0 then", "if false then"),
        ("put", "maxsize - waiting - ahead", "maxsize - ahead"),
    ),
    test_put.test_delayed_jobs_take_room_and_taken_ones_do_not: (
        ("put", "redis.call('ZCARD', READY) + redis.call('ZCARD', DELAYED)", "redis.call('ZCARD', READY)"),
    ),
    test_put.test_a_bound_set_by_one_holds_for_all_and_no_bound_leaves_it_alone: (
        (
            "put",
            "local maxsize = tonumber(meta[2]) or bound",
            "local maxsize = bound > 0 and bound or tonumber(meta[2]) or 0",
        ),
    ),
    test_put.test_a_queue_that_was_shut_refuses_and_nothing_changes: (
        ("put", "if meta[3] and (known_count < count or count == 0) then", "if false then"),
    ),
    test_put.test_a_put_sent_twice_to_a_queue_shut_in_between_was_accepted: (
        ("put", "if meta[3] and (known_count < count or count == 0) then", "if meta[3] then"),
    ),
    test_put.test_an_own_id_that_is_known_is_refused_and_nothing_changes: (
        ("put", "if bytes and bytes ~= ARGV[place + 1] or over and mode == 'check' then", "if false then"),
        ("put", " or over and mode == 'check' then", " then"),
    ),
    test_put.test_a_put_sent_twice_is_one_put: (
        ("put", "if mode ~= 'new' or count > 0 and is_any_known() then", "if mode == 'check' then"),
    ),
    test_put.test_put_that_arrives_behind_its_resend_changes_nothing: (
        ("put", " or count > 0 and is_any_known() then", " then"),
        (
            "put",
            "return bytes[1] or bytes[2] or redis.call('EXISTS', unpack(outcomes)) > 0",
            "return bytes[1] or bytes[2]",
        ),
    ),
    test_put.test_a_put_sent_twice_whose_jobs_moved_on_meanwhile_is_one_put: (
        ("put", "if bytes or over then", "if bytes then"),
    ),
    test_put.test_the_second_half_of_a_put_that_was_cut_short_is_added_when_it_is_sent_again: (
        ("put", "if not known[ARGV[place]] then", "if true then"),
    ),
    test_put.test_known_job_makes_no_room_for_those_before_it: (
        ("put", "if known_count == 0 then return free end", "if true then return known_count + free end"),
    ),
    test_put.test_a_put_notes_the_job_its_place_and_the_books_and_rings_once: (
        ("put", "redis.call('HINCRBY', META, 'accepted', fresh)", ""),
    ),
    test_put.test_jobs_put_together_keep_their_order_and_ring_for_each: (
        ("put", "score = score + step", ""),
    ),
    test_put.test_a_higher_priority_comes_first_and_equals_keep_their_order: (
        ("put", "(255 - priority) * LEVEL + sequence + 1", "255 * LEVEL + sequence + 1"),
    ),
    test_put.test_a_server_that_is_out_of_memory_refuses_puts_and_can_still_be_drained: (
        ("put", "#!lua\n", "#!lua flags=allow-oom\n"),
    ),
    test_put.test_the_bell_holds_no_more_than_32_hints: (
        ("shared/wake", "math.min(count, MOST_HINTS - redis.call('LLEN', BELL))", "count"),
    ),
    test_line.test_who_does_not_stand_in_line_gets_only_what_the_line_leaves_over: (
        ("put", "maxsize - waiting - ahead", "maxsize - waiting"),
    ),
    test_line.test_asking_again_does_not_cost_the_place: (("put", "'NX', behind + 1", "behind + 1"),),
    test_line.test_a_producer_that_died_in_line_holds_nobody_up_even_if_the_clock_was_set_back: (
        ("put", "        redis.call('ZREM', LINE, other)", ""),
        ("put", "          redis.call('HDEL', SEEN, other)", ""),
        ("put", "if other ~= waiter and is_gone(redis.call('HGET', SEEN, other), now) then", "if false then"),
        ("shared/line", "math.abs(now - (tonumber(seen or 0) or 0))", "(now - (tonumber(seen or 0) or 0))"),
    ),
    test_line.test_who_was_served_has_left_the_line: (
        ("put", "redis.call('HDEL', SEEN, waiter) end", "end"),
        ("put", "if rest == 0 and waiter ~= '' and redis.call('ZREM', LINE, waiter) == 1", "if false"),
    ),
    test_line.test_everything_that_makes_room_wakes_the_line: (
        ("claim", "make_room(tonumber(meta[2]) or 0)", ""),
        ("cancel", "make_room(tonumber(redis.call('HGET', META, 'maxsize')) or 0)", ""),
        ("purge", "make_room(tonumber(redis.call('HGET', META, 'maxsize')) or 0)", ""),
        ("bound", "make_room(tonumber(ARGV[1]))", ""),
    ),
    test_line.test_forget_takes_the_dead_out_of_the_line: (
        ("forget", "if is_gone(seen[place + 1], now) then", "if false then"),
        ("forget", "redis.call('ZREM', LINE, seen[place])", ""),
        ("forget", "redis.call('HDEL', SEEN, seen[place])", ""),
        ("forget", "redis.call('ZREMRANGEBYSCORE', INBOXES, '-inf', now)", ""),
        ("forget", "if tidied > 0 then make_room", "if false then make_room"),
    ),
    test_line.test_line_is_not_woken_without_room: (("shared/wake", "if free <= 0 then return end", ""),),
    test_line.test_room_wakes_the_first_in_line_and_only_as_many_as_there_is_room_for: (
        ("shared/wake", "math.min(free, MOST_HINTS) - 1", "-1"),
    ),
    test_line.test_a_producer_that_leaves_lets_the_next_one_in: (
        ("leave", "redis.call('ZREM', LINE, ARGV[1])", ""),
        ("leave", "make_room(tonumber(redis.call('HGET', META, 'maxsize')) or 0)", ""),
        ("leave", "redis.call('HDEL', SEEN, ARGV[1])", ""),
    ),
    test_line.test_shutting_the_queue_wakes_everyone_in_line: (
        ("shut", "for _, waiter in ipairs(redis.call('ZRANGE', LINE, 0, 255)) do wake(waiter) end", ""),
    ),
    test_claim.test_a_claim_sent_twice_gives_what_is_still_held_of_the_same_batch: (
        ("claim", "if last and string.sub(last, 1, #nonce + 1) == nonce .. ' ' then", "if false then"),
        ("claim", "redis.call('SET', claim_key, table.concat(memory, ' '), 'PX', 60000)", ""),
        ("claim", "is_holder(redis.call('HGET', LEASES, words[place]), words[2])", "true"),
    ),
    test_claim.test_a_nonce_that_begins_like_another_is_another: (
        ("claim", "string.sub(last, 1, #nonce + 1) == nonce .. ' '", "string.sub(last, 1, #nonce) == nonce"),
    ),
    test_claim.test_another_owner_with_the_same_nonce_is_another: (
        ("claim", "local claim_key = BASE .. 'claim:' .. owner", "local claim_key = BASE .. 'claim:anyone'"),
    ),
    test_claim.test_a_job_that_went_to_another_taker_is_not_given_again: (
        (
            "claim",
            "is_holder(redis.call('HGET', LEASES, words[place]), words[2])",
            "redis.call('HGET', LEASES, words[place])",
        ),
    ),
    test_claim.test_duplicate_of_an_old_claim_brings_nothing: (
        ("claim", "tonumber(number) < tonumber(last_number)", "false"),
    ),
    test_claim.test_claim_sent_again_for_nothing_brings_nothing_later: (
        ("claim", "if want == 0 or ARGV[7] == 'again' then", "if want == 0 then"),
    ),
    test_claim.test_claim_for_none_voids_one_that_is_under_way: (
        ("claim", "if want == 0 or ARGV[7] == 'again' then", "if ARGV[7] == 'again' then"),
    ),
    test_claim.test_tokens_grow_even_when_the_clock_goes_back: (
        ("claim", "math.max((tonumber(meta[5]) or 0) + 1, now * 1000)", "now * 1000"),
    ),
    test_claim.test_a_claim_that_brings_nothing_says_why_and_moves_nothing: (
        ("claim", "if meta[3] then return nothing('PAUSED') end", ""),
        ("claim", "if meta[4] and not due then return nothing('SHUT') end", ""),
    ),
    test_claim.test_a_queue_that_was_shut_still_gives_out_what_is_in_it_and_waits_for_what_is_due_later: (
        ("claim", "if meta[4] and not due then", "if meta[4] then"),
    ),
    test_claim.test_a_claim_moves_the_first_jobs_under_one_token_and_only_the_first_counts_as_started: (
        ("claim", "redis.call('ZREMRANGEBYRANK', READY, 0, taken - 1)", ""),
        ("claim", "each_part('ZADD', LEASED, ends)", ""),
        ("claim", "each_part('HSET', LEASES, leases)", ""),
        ("claim", "local how = #leases == 0 and first_how or 'H'", "local how = first_how"),
    ),
    test_claim.test_a_job_that_was_recovered_is_taken_alone: (
        ("claim", "local is_suspect = text and string.sub(text, -4) ~= ' 0 0'", "local is_suspect = false"),
    ),
    test_claim.test_a_claim_brings_no_more_than_a_mebibyte_but_always_one_job: (
        ("claim", "(is_suspect or size > most_bytes)", "is_suspect"),
    ),
    test_claim.test_entries_without_a_job_are_dropped_counted_and_hold_up_nobody: (
        ("claim", "if orphans > 0 then redis.call('HINCRBY', META, 'orphans', orphans) end", ""),
        ("claim", "  if bytes[place] then", "  if true then"),
    ),
    test_claim.test_a_wake_up_is_passed_on_while_there_is_more: (
        ("claim", "if left > 0 and redis.call('EXISTS', BELL) == 0 then ring(1) end", ""),
    ),
    test_claim.test_pause_and_resume_leave_everything_as_it_was_and_ring_for_who_waits: (
        ("resume", "ring(math.min(redis.call('ZCARD', READY), MOST_HINTS))", ""),
        ("pause", ", 'paused', 1", ""),
        ("resume", "redis.call('HDEL', META, 'paused', 'shutdown')", ""),
    ),
    test_release.test_renewal_names_the_lost_lease_if_a_job_is_held_twice: (
        ("renew", "if is_holder(text, token) then", "if text then"),
    ),
    test_release.test_a_renewal_names_what_is_lost_and_brings_nothing_back: (
        ("renew", "if is_holder(", "redis.call('ZADD', LEASED, till, id) if is_holder("),
        ("renew", "lost[#lost + 1] = (place - 2) / 3", ""),
    ),
    test_release.test_a_renewal_lengthens_the_leases_named_and_says_which_of_them_have_started: (
        ("renew", "redis.call('ZADD', LEASED, 'XX', till, id)", ""),
        ("renew", "lease.how = how", ""),
    ),
    test_release.test_a_renewal_tells_which_jobs_somebody_wants_cancelled_until_they_end: (
        ("renew", "if lease.how == 'C' then", "if false then"),
    ),
    test_release.test_a_renewal_recovers_what_others_let_run_out: (
        ("renew", "promote(now) + reap(clock, now) > 0", "promote(now) > 0"),
    ),
    test_release.test_giving_back_twice_or_with_another_token_changes_nothing: (
        ("release", "if is_holder(text, token) then", "if text then"),
        ("release", "if is_holder(", "redis.call('ZREM', LEASED, id) if is_holder("),
    ),
    test_release.test_what_somebody_wants_cancelled_is_not_given_back_but_ends: (
        ("release", "if lease.how == 'C' then", "if false then"),
        ("release", "tell_joiners()", ""),
    ),
    test_release.test_what_is_given_back_stands_where_it_stood_and_nobody_is_blamed: (
        ("release", "redis.call('HDEL', LEASES, id)", ""),
        ("release", "redis.call('HDEL', PROGRESS, id)", ""),
        ("release", "  ring(released)", ""),
        ("release", "redis.call('ZREM', LEASED, id)", ""),
        ("release", "redis.call('ZADD', READY, lease.place, id)", "redis.call('ZADD', READY, 9, id)"),
    ),
    test_finish.test_the_one_whose_lease_ran_out_may_not_settle_what_another_took: (
        ("finish", "lease and string.sub(lease, 1, length) == prefix", "lease"),
        ("finish", "~= ARGV[FIRST + 4 * (number - 1) + 1] then", "== false then"),
    ),
    test_finish.test_a_token_that_begins_like_the_lease_s_is_another: (
        ("finish", "local prefix = token .. ' '", "local prefix = token"),
    ),
    test_finish.test_of_a_batch_only_what_is_held_is_settled: (
        ("finish", "if lease and string.sub(lease, 1,", "if not lease or string.sub(lease, 1,"),
    ),
    test_finish.test_a_finish_with_a_token_that_is_not_the_lease_s_changes_nothing: (
        ("finish", "local now = ", "each_part('ZREM', LEASED, asked) local now = "),
    ),
    test_finish.test_a_finish_sent_twice_is_one_finish: (
        ("finish", "~= ARGV[FIRST + 4 * (number - 1) + 1] then", "~= nil then"),
    ),
    test_finish.test_a_finish_takes_every_trace_but_the_outcome: (
        ("finish", "clear_traces(letters, ids, outcomes)", ""),
        ("finish", "if ARGV[place + 3] ~= '' then remember('end', ARGV[place + 3]) end", ""),
        ("shared/deliver", "each_part('HDEL', PROGRESS, ids)", ""),
        ("finish", "each_part('ZREM', LEASED, ids)", ""),
        ("finish", "each_part('HDEL', LEASES, ids)", ""),
        ("finish", "each_part('HDEL', JOBS, ids)", ""),
        ("finish", "if redis.call('EXISTS', TRIES) == 1 then each_part('HDEL', TRIES, ids) end", ""),
        ("finish", "redis.call('HINCRBY', META, counter, #ids)", ""),
    ),
    test_finish.test_an_outcome_is_kept_long_enough_for_a_command_sent_again_even_if_nobody_wants_it: (
        ("shared/deliver", "if keep_ms < LEAST_KEEP then keep_ms = LEAST_KEEP end", "keep_ms = keep_ms + 1"),
    ),
    test_finish.test_progress_told_after_the_end_is_not_kept: (
        ("plain/progress", "if redis.call('HEXISTS', KEYS[2], ARGV[place]) == 1 then", "if true then"),
    ),
    test_fail.test_a_failure_with_another_token_is_stale_and_changes_nothing: (
        ("fail", "if not is_holder(text, token) then", "if not text then"),
        ("fail", "if not is_holder(", "redis.call('ZREM', LEASED, id) if not is_holder("),
    ),
    test_fail.test_a_failure_sent_twice_is_one_failure: (
        ("fail", "redis.call('HGET', REASONS, id) == ARGV[3] and 'OK' or 'STALE'", "'STALE'"),
    ),
    test_fail.test_a_failure_of_what_another_has_failed_is_stale: (
        ("fail", "redis.call('HGET', REASONS, id) == ARGV[3] and", "redis.call('HGET', REASONS, id) and"),
    ),
    test_fail.test_a_revived_job_is_as_if_it_had_never_been_tried_behind_those_that_wait: (
        ("revive", "redis.call('HDEL', REASONS, id)", ""),
        ("revive", "redis.call('HDEL', GROUPS, id)", ""),
        ("revive", "redis.call('HSET', META, 'sequence', exact(sequence + revived))", ""),
        ("revive", "ring(revived)", ""),
        ("revive", "if redis.call('ZREM', DEAD, id) == 1 then", "if true then"),
        ("revive", "redis.call('DEL', BASE .. 'outcome:' .. id)", ""),
    ),
    test_fail.test_revived_job_keeps_its_priority: (
        ("revive", "(255 - priority) * LEVEL", "255 * LEVEL"),
        ("revive", "redis.call('HDEL', PRIORITIES, id)", ""),
        ("revive", "redis.call('HDEL', TRIES, id)", ""),
    ),
    test_fail.test_discarded_job_leaves_no_priority_and_no_tries: (
        ("discard", "redis.call('HDEL', TRIES, id)", ""),
        ("discard", "redis.call('HDEL', PRIORITIES, id)", ""),
    ),
    test_fail.test_discarding_twice_discards_once: (
        ("discard", "if redis.call('ZREM', DEAD, id) == 1 then", "if true then"),
    ),
    test_fail.test_a_discarded_dead_letter_is_gone_for_good_and_counted: (
        ("discard", "redis.call('HDEL', REASONS, id)", ""),
        ("discard", "redis.call('HDEL', GROUPS, id)", ""),
        ("discard", "redis.call('HDEL', JOBS, id)", ""),
        ("discard", "redis.call('HINCRBY', META, 'discarded', discarded)", ""),
    ),
    test_fail.test_a_failed_job_is_a_dead_letter_with_its_bytes_its_tries_and_the_reason: (
        ("shared/settle", "redis.call('HDEL', LEASES, id)", ""),
        ("shared/settle", "redis.call('HSET', GROUPS, id, reason.group)", ""),
        ("shared/settle", "redis.call('HSET', REASONS, id, reason.lost)", ""),
        ("shared/settle", "redis.call('ZADD', DEAD, newest > now and newest + 1 or now, id)", ""),
        ("shared/settle", "add_attempt(id, reason.attempt, DEAD_KEEP)", ""),
        ("fail", "remember('end', ARGV[5])", ""),
        ("shared/settle", "redis.call('ZREM', LEASED, id)", ""),
    ),
    test_fail.test_beyond_ten_thousand_the_oldest_dead_letter_goes_and_is_counted: (
        ("shared/settle", "if redis.call('ZCARD', DEAD) > MOST_DEAD then", "if false then"),
    ),
    test_fail.test_oldest_dead_letter_goes_with_all_that_is_kept_of_it: (
        ("shared/settle", "redis.call('HDEL', REASONS, oldest)", ""),
        ("shared/settle", "redis.call('HDEL', GROUPS, oldest)", ""),
        ("shared/settle", "redis.call('HDEL', JOBS, oldest)", ""),
        ("shared/settle", "redis.call('HDEL', TRIES, oldest)", ""),
        ("shared/settle", "redis.call('HDEL', PRIORITIES, oldest)", ""),
        ("shared/settle", "redis.call('DEL', BASE .. 'attempts:' .. oldest)", ""),
        ("shared/settle", "remember('discarded', oldest)", ""),
        ("shared/settle", "redis.call('HINCRBY', META, 'discarded', 1)", ""),
        ("shared/settle", "redis.call('ZPOPMIN', DEAD)[1]", "redis.call('ZRANGE', DEAD, 0, 0)[1]"),
    ),
    test_fail.test_newest_dead_job_stays_if_the_clock_was_set_back: (
        ("shared/settle", "newest > now and newest + 1 or now", "now"),
    ),
    test_retry.test_a_claim_takes_what_has_just_come_due: (("claim", "    promote(now)\n", ""),),
    test_retry.test_one_slice_is_64_jobs_and_claims_and_renewals_do_one_on_their_way: (
        ("renew", "promote(now) + reap(clock, now) > 0", "reap(clock, now) > 0"),
    ),
    test_retry.test_a_retry_with_another_token_is_stale_and_changes_nothing: (
        ("retry", "if not is_holder(text, token) then", "if not text then"),
        ("retry", "if not is_holder(", "redis.call('ZREM', LEASED, id) if not is_holder("),
        ("shared/lease", "#token + 1) == token .. ' '", "#token) == token"),
    ),
    test_retry.test_a_retry_of_a_job_that_somebody_wants_cancelled_cancels_it: (
        ("retry", "if lease.how == 'C' then", "if false then"),
    ),
    test_retry.test_a_retried_job_waits_for_its_time_with_one_retry_used: (
        ("retry", "redis.call('HDEL', PROGRESS, id)", ""),
        ("retry", "ring(1)", ""),
        ("retry", "remember('end', ARGV[4])", ""),
        ("retry", "add_attempt(id, ARGV[5], ATTEMPT_KEEP)", ""),
        ("retry", "redis.call('ZREM', LEASED, id)", ""),
        ("retry", "redis.call('HDEL', LEASES, id)", ""),
        ("retry", "retries + 1", "retries"),
    ),
    test_retry.test_a_retried_job_keeps_its_priority: (
        ("retry", "if priority > 0 then redis.call('HSET', PRIORITIES, id, priority) end", ""),
        ("shared/recover", "(255 - priority) * LEVEL", "255 * LEVEL"),
    ),
    test_retry.test_what_is_due_is_promoted_in_order_of_time_and_priority_and_rings: (
        ("shared/recover", "redis.call('HDEL', PRIORITIES, unpack(due))", ""),
        ("promote", "if moved > 0 then ring(moved) end", ""),
    ),
    test_retry.test_promoting_again_moves_nothing: (
        ("shared/recover", "redis.call('ZREM', DELAYED, unpack(due))", ""),
    ),
    test_retry.test_delays_begun_after_a_clock_was_set_back_are_exact: (
        ("shared/due", "if wall and now < wall then shift = shift + wall - now end", ""),
    ),
    test_lost.test_a_claim_recovers_what_is_abandoned_and_takes_it: (
        ("claim", "if tonumber(lapse) <= clock then reap(clock, now) end", ""),
    ),
    test_lost.test_a_loss_told_twice_or_with_another_token_changes_nothing: (
        ("lost", "if not is_holder(text, token) then", "if not text then"),
        ("lost", "if not is_holder(", "redis.call('ZREM', LEASED, id) if not is_holder("),
    ),
    test_lost.test_a_held_job_that_its_supervisor_knows_to_have_run_is_suspected: (
        ("lost", "if lease.how ~= 'C' then lease.how = 'S' end", ""),
    ),
    test_lost.test_a_job_that_somebody_wants_cancelled_is_cancelled_when_its_worker_dies: (
        ("lost", "if lease.how ~= 'C' then lease.how = 'S' end", "lease.how = 'S'"),
        ("shared/recover", "if lease.how == 'C' then", "if false then"),
    ),
    test_lost.test_after_a_jump_an_abandoned_lease_still_ends_within_its_length: (
        ("reap", "redis.call('HSET', META, 'clock', exact(clock), 'wall', exact(now))", ""),
    ),
    test_lost.test_a_lease_that_ran_out_is_counted_and_only_a_started_job_is_suspected: (
        ("reap", "if moved > 0 then ring(moved) end", ""),
        ("shared/recover", "redis.call('HINCRBY', META, 'lapsed', #lapsed)", ""),
        ("shared/recover", "redis.call('ZREM', LEASED, id)\n  redis", "redis"),
        ("shared/recover", "redis.call('HDEL', LEASES, id)", ""),
        ("shared/recover", "if lease.how == 'S' then", "if true then"),
    ),
    test_lost.test_job_is_dead_after_three_crashes_or_ten_lapses: (
        ("shared/recover", "crashes >= CRASH_BUDGET or", ""),
        ("shared/recover", " or lapses >= LAPSE_BUDGET", ""),
    ),
    test_lost.test_lapses_and_crashes_are_counted_apart: (
        ("shared/recover", "if reason.lapsed then", "if false then"),
    ),
    test_lost.test_the_job_that_ran_is_suspected_and_back_at_its_old_place: (
        ("shared/recover", "redis.call('HDEL', PROGRESS, id)", ""),
        ("shared/recover", "redis.call('ZADD', READY, lease.place, id)", ""),
        ("shared/recover", "if attempt ~= '' then add_attempt(id, attempt, ATTEMPT_KEEP) end", ""),
        ("lost", "if state == 'ready' then ring(1) else tell_joiners() end", "tell_joiners()"),
        ("lost", "remember('end', ARGV[6])", ""),
        ("shared/recover", "recoveries + 1", "recoveries"),
    ),
    test_lost.test_an_entry_without_a_lease_is_dropped_and_counted: (
        ("shared/recover", "redis.call('HINCRBY', META, 'orphans', 1)", ""),
        ("shared/recover", "redis.call('ZREM', LEASED, id)\n      redis", "redis"),
    ),
    test_lost.test_who_waits_for_the_end_is_told_when_the_last_job_ends_by_recovery: (
        ("shared/recover", "tell_joiners()", ""),
    ),
    test_lost.test_a_clock_that_jumps_an_hour_ahead_ends_no_lease: (
        ("shared/lease", "math.min(now - wall, LEASE_STEP)", "now - wall"),
    ),
    test_lost.test_a_clock_that_is_set_back_freezes_nothing: (
        ("shared/lease", "math.max(0, math.min(now - wall, LEASE_STEP))", "math.min(now - wall, LEASE_STEP)"),
    ),
    test_cancel.test_a_running_job_is_marked_and_its_owner_named_and_nothing_else: (
        ("cancel", "if lease.how ~= 'H' then", "if false then"),
        ("cancel", "redis.call('HSET', LEASES, id, write_lease(lease))", ""),
    ),
    test_cancel.test_first_note_of_a_cancellation_is_kept: (
        ("cancel", "    note()\n    return", "    return"),
        ("cancel", "  note()\n  settle", "  settle"),
        ("cancel", "'NX', 'PX'", "'PX'"),
    ),
    test_cancel.test_cancelling_twice_is_cancelling_once: (
        ("cancel", "if outcome == ARGV[2] then return {'cancelled'} end", ""),
    ),
    test_cancel.test_purge_spares_jobs_accepted_after_the_given_one: (
        ("purge", "math.min(upto, LEVEL - 1)", "(LEVEL - 1)"),
    ),
    test_cancel.test_purge_cuts_its_slices_at_a_megabyte: (
        ("purge", "if purged > 0 and bytes > MOST_BYTES then break end", ""),
    ),
    test_cancel.test_a_purge_tells_who_waits_for_the_end: (("purge", "tell_joiners()", ""),),
    test_cancel.test_a_waiting_job_is_over_at_once: (
        ("shared/settle", "redis.call('ZREM', READY, id)", ""),
        ("shared/settle", "redis.call('HDEL', JOBS, id)\n  redis", "redis"),
        ("shared/settle", "redis.call('HINCRBY', META, counter, 1)", ""),
    ),
    test_cancel.test_a_delayed_job_is_over_at_once_with_its_priority_and_tries: (
        ("shared/settle", "redis.call('HDEL', PRIORITIES, id)", ""),
        ("shared/settle", "redis.call('HDEL', TRIES, id)", ""),
        ("shared/settle", "redis.call('ZREM', DELAYED, id)", ""),
    ),
    test_cancel.test_outcome_of_a_cancelled_job_is_kept_as_it_says: (
        ("shared/settle", "own_keep(id) or keep_ms", "keep_ms"),
    ),
    test_join.test_the_end_of_the_last_job_wakes_all_who_wait_for_it_and_the_one_before_nobody: (
        (
            "lost",
            "if state == 'ready' then ring(1) else tell_joiners() end",
            "if state == 'ready' then ring(1) end",
        ),
        ("finish", "tell_joiners()", ""),
        ("fail", "tell_joiners()", ""),
        ("cancel", "tell_joiners()", ""),
        ("shared/wake", "if redis.call('EXISTS', READY, DELAYED, LEASED) > 0 then return end", ""),
    ),
    test_join.test_joiner_leaves_no_trace_once_all_is_over: (
        ("join", "redis.call('SREM', JOINERS, ARGV[1])", ""),
        ("join", "redis.call('HDEL', SEEN, ARGV[1])", ""),
    ),
    test_join.test_everything_that_is_not_over_is_waited_for: (
        ("join", " + redis.call('ZCARD', LEASED)", ""),
    ),
    test_listen.test_whatever_ends_a_job_its_outcome_is_pushed_to_its_own_producer: (
        ("finish", "send_letters(letters)", ""),
    ),
    test_listen.test_nobody_listens_so_nothing_is_pushed_and_the_outcome_is_only_kept: (
        ("shared/deliver", "until_when and tonumber(until_when) > now or false", "true"),
    ),
    test_listen.test_each_outcome_of_a_batch_is_pushed_to_its_watchers: (
        ("finish", "outcomes[#ids] = ARGV[place + 1]", "outcomes[1] = ARGV[place + 1]"),
    ),
    test_listen.test_large_outcome_is_pushed_as_its_id_unless_first: (
        ("shared/deliver", " or #letter[place] > LETTER_BYTES and entries > 2", ""),
    ),
    test_listen.test_holding_an_inbox_open_notes_until_when_and_nothing_else: (
        ("listen", "redis.call('ZADD', INBOXES, now + hold, inbox)", "0"),
    ),
    test_listen.test_a_job_of_somebody_else_is_watched_and_its_outcome_pushed_to_all_who_watch: (
        ("shared/deliver", "redis.call('HDEL', WATCHERS, id)", ""),
        ("listen", "    watch(id)", ""),
    ),
    test_listen.test_what_is_asked_for_is_told_if_it_is_over_dead_or_unknown_and_left_out_if_it_goes_on: (
        ("listen", "if not outcome and redis.call('HEXISTS', JOBS, id) == 0 then outcome = '' end", ""),
    ),
    test_forget.test_queue_with_jobs_is_not_removed: (
        ("forget", "if sizes[1] + sizes[2] + sizes[3] + sizes[4] > 0 then", "if false then"),
    ),
    test_forget.test_queue_unused_for_thirty_days_is_forgotten: (
        ("forget", "if unused > 0 and not is_unused() then", "if false then"),
    ),
    test_forget.test_tally_told_late_does_not_bring_a_deleted_queue_back: (
        ("tally", "if not version and ARGV[3] ~= '-' then return {'OK'} end", ""),
    ),
    test_forget.test_jobs_put_during_a_deletion_stay: (
        ("plain/clear", "if redis.call('HEXISTS', KEYS[1], 'born') == 1 then return 0 end", ""),
    ),
    test_tally.test_a_tally_sent_twice_counts_once_also_after_a_later_one: (
        ("tally", "if number > (tonumber(redis.call('GET', number_key)) or 0) then", "if true then"),
    ),
    test_versions.test_newer_queue_is_left_alone: (
        ("put", "if is_foreign(meta[1]) then return {'VERSION'} end", ""),
        ("claim", "if is_foreign(meta[1]) then return {'VERSION'} end", ""),
        ("cancel", "if is_foreign(redis.call('HGET', META, 'version')) then return {'VERSION'} end", ""),
        ("revive", "if is_foreign(redis.call('HGET', META, 'version')) then return {'VERSION'} end", ""),
        ("discard", "if is_foreign(redis.call('HGET', META, 'version')) then return {'VERSION'} end", ""),
        ("purge", "if is_foreign(redis.call('HGET', META, 'version')) then return {'VERSION'} end", ""),
        ("bound", "if is_foreign(version) then return {'VERSION'} end", ""),
        ("pause", "if is_foreign(redis.call('HGET', META, 'version')) then return {'VERSION'} end", ""),
        ("resume", "if is_foreign(redis.call('HGET', META, 'version')) then return {'VERSION'} end", ""),
        ("shut", "if is_foreign(redis.call('HGET', META, 'version')) then return {'VERSION'} end", ""),
        ("forget", "if is_foreign(version) then return {'VERSION'} end", ""),
        ("tally", "if is_foreign(version) then return {'VERSION'} end", ""),
        ("promote", "if is_foreign(redis.call('HGET', META, 'version')) then return {'VERSION'} end", ""),
        ("reap", "if is_foreign(meta[3]) then return {'VERSION'} end", ""),
        ("shared/queue", "version and version ~= PROTOCOL and version ~= BEFORE", "false"),
    ),
    test_versions.test_lease_in_a_newer_queue_may_be_used: (
        (
            "shared/recover",
            "== 0 or is_foreign(redis.call('HGET', META, 'version')) then return 0 end\n  local",
            "== 0 then return 0 end\n  local",
        ),
        ("shared/recover", "#lapsed == 0 or is_foreign(redis.call('HGET', META, 'version'))", "#lapsed == 0"),
    ),
    test_versions.test_count_of_lapses_takes_a_queue_over: (
        ("shared/queue", "if version == BEFORE then", "if false then"),
    ),
    test_release.test_a_run_that_is_given_back_is_kept_once_and_counts_for_nothing: (
        ("release", "if ARGV[2] ~= '' then add_attempt(id, ARGV[2], ATTEMPT_KEEP) end", ""),
    ),
    test_join.test_joiners_that_died_are_forgotten: (
        ("shared/wake", "    redis.call('HDEL', SEEN, waiter)", ""),
    ),
    test_claim.test_claim_does_not_suspect_what_its_taker_has_not_received: (
        ("claim", ">= LAPSE_BUDGET then first_how = 'S' end", ">= 9999 then first_how = 'S' end"),
    ),
    test_listen.test_closing_takes_it_away_with_what_lay_in_it: (
        ("listen", "redis.call('ZREM', INBOXES, inbox)", ""),
        ("listen", "redis.call('DEL', BASE .. 'inbox:' .. inbox)", ""),
    ),
    test_join.test_who_leaves_is_not_woken: (("leave", "redis.call('SREM', JOINERS, ARGV[1])", ""),),
    test_join.test_joiner_takes_away_those_that_died: (
        ("join", "    redis.call('SREM', JOINERS, other)", ""),
        ("join", "    redis.call('HDEL', SEEN, other)", ""),
    ),
    test_join.test_forget_takes_away_joiners_that_died: (
        ("forget", "redis.call('SREM', JOINERS, seen[place])", ""),
    ),
    test_listen.test_inbox_that_lapsed_was_not_open: (
        ("listen", "redis.call('ZREMRANGEBYSCORE', INBOXES, '-inf', now)", ""),
    ),
    test_forget.test_only_the_last_births_that_were_deleted_are_kept: (
        ("forget", "redis.call('LTRIM', BASE .. 'deleted', 0, MOST_DELETED - 1)", ""),
    ),
    test_forget.test_deleted_queue_leaves_no_key_and_no_name: (
        ("forget", "redis.call('UNLINK', unpack(KEYS))", ""),
        ("plain/clear", "redis.call('UNLINK', unpack(KEYS, 2))", ""),
    ),
    test_forget.test_queues_of_others_are_left_alone: (
        ("plain/note", "redis.call('SADD', KEYS[1], ARGV[1])", "0"),
    ),
    test_retry.test_the_last_twenty_attempts_are_kept_for_a_day: (
        ("shared/settle", "redis.call('LTRIM', list, -MOST_ATTEMPTS, -1)", ""),
    ),
    test_plain.test_order_lies_for_a_minute_after_the_last: (
        ("plain/tell", "redis.call('EXPIRE', KEYS[1], ARGV[1])", ""),
    ),
    test_plain.test_report_is_listed_and_gone_after_twenty_seconds: (
        ("plain/report", "redis.call('ZADD', KEYS[2], ARGV[3], ARGV[4])", ""),
        ("plain/report", ", 'EX', ARGV[2]", ""),
    ),
    test_plain.test_only_the_last_operations_are_listed: (
        ("plain/keep", "redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -1 - tonumber(ARGV[5]))", ""),
    ),
    test_audit.test_record_that_arrives_twice_is_kept_once: (
        ("plain/record", "if entry[2][2] == ARGV[1] then return entry[1] end", ""),
    ),
    test_audit.test_kept_replies_are_bounded: (
        ("plain/answer", "redis.call('HLEN', KEYS[2]) < tonumber(ARGV[6])", "true"),
        ("plain/answer", "redis.call('ZPOPMIN', KEYS[3], math.min(over, 10))", "{}"),
        ("plain/answer", "redis.call('DEL', ARGV[9] .. popped[place])", "popped[place] = nil"),
    ),
}
