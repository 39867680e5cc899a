"""Mutants of the Lua scripts: the changes to each script, with the test that must fail then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.monitor import test_audit

from . import (
    test_after,
    test_append,
    test_cancel,
    test_claim,
    test_fail,
    test_finish,
    test_forget,
    test_join,
    test_limits,
    test_line,
    test_listen,
    test_lost,
    test_plain,
    test_put,
    test_release,
    test_rests,
    test_retry,
    test_schedules,
    test_steps,
    test_tally,
    test_unique,
    test_versions,
)

if TYPE_CHECKING:
    from collections.abc import Callable

#: A script, a text in it, and its replacement.
Change = tuple[str, str, str]

#: The tests that notice, and the mutants that each of them notices.
MUTANTS: dict[Callable[..., None], tuple[Change, ...]] = {
    test_put.test_full_queue_accepts_the_first_that_fit_and_says_how_many: (
        ("shared/room", "if maxsize == 0 then", "if true then"),
        ("shared/room", "maxsize - buffered() - ahead", "maxsize - ahead"),
    ),
    test_put.test_delayed_jobs_take_room_and_taken_jobs_do_not: (
        (
            "shared/wake",
            "redis.call('ZCARD', READY) + redis.call('ZCARD', DELAYED)",
            "redis.call('ZCARD', READY)",
        ),
    ),
    test_put.test_limit_applies_to_all_producers_until_changed: (
        (
            "put",
            "waiter, tonumber(meta[2]) or bound, known,",
            "waiter, bound > 0 and bound or tonumber(meta[2]) or 0, known,",
        ),
        ("put", "meta[5] and not meta[2]", "meta[5]"),
    ),
    test_put.test_put_after_shutdown_is_refused_without_effect: (
        ("put", "if meta[3] and (known_count < count or count == 0) then", "if false then"),
        ("put", "not meta[2] and not meta[3]", "not meta[2]"),
    ),
    test_put.test_resent_put_is_accepted_if_its_queue_was_shut_meanwhile: (
        ("put", "if meta[3] and (known_count < count or count == 0) then", "if meta[3] then"),
    ),
    test_put.test_known_custom_id_is_refused_without_effect: (
        ("put", "if bytes and bytes ~= ARGV[place + 1] or over and mode == 'check' then", "if false then"),
        ("put", " or over and mode == 'check' then", " then"),
    ),
    test_put.test_put_sent_twice_has_no_second_effect: (
        ("put", "if mode ~= 'new' or count > 0 and is_any_known() then", "if mode == 'check' then"),
    ),
    test_put.test_put_that_arrives_after_its_resend_changes_nothing: (
        ("put", " or count > 0 and is_any_known() then", " then"),
        (
            "put",
            "return bytes[1] or bytes[2] or redis.call('EXISTS', unpack(outcomes)) > 0",
            "return bytes[1] or bytes[2]",
        ),
        ("put", "if redis.call('EXISTS', BASE .. 'outcome:' .. id) == 0 and", "if"),
        ("put", "'HSET', JOBS, id, ARGV[FIRST + 1]) == 1", "'HSET', JOBS, id, ARGV[FIRST + 1]) >= 0"),
    ),
    test_put.test_put_sent_twice_has_no_second_effect_if_jobs_moved_on: (
        ("put", "if bytes or over then", "if bytes then"),
    ),
    test_put.test_resent_put_adds_the_rest_of_a_partial_put: (
        ("put", "      if not known[ARGV[place]] then", "      if true then"),
    ),
    test_put.test_known_job_makes_no_room_for_jobs_before_it: (
        (
            "shared/room",
            "if not next(known) then return free end",
            "if true then return (next(known) and 1 or 0) + free end",
        ),
    ),
    test_put.test_put_records_the_job_its_position_and_a_wake_up: (
        ("shared/accept", "'sequence', meta[4], 'accepted', meta[6])", "'sequence', meta[4])"),
    ),
    test_put.test_put_to_a_queue_in_use_has_the_same_effect: (
        ("put", "'accepted', exact((tonumber(meta[6]) or 0) + 1)", "'accepted', '1'"),
        ("put", "    sequence = sequence + 1\n", ""),
        ("put", "    ring(1)\n", ""),
    ),
    test_put.test_jobs_put_together_keep_their_order_and_wake_for_each: (
        ("shared/accept", "score = score + step", ""),
    ),
    test_put.test_higher_priority_comes_first_and_equals_keep_their_order: (
        ("shared/accept", "(255 - priority) * LEVEL + sequence + 1", "255 * LEVEL + sequence + 1"),
        ("put", "(255 - priority) * LEVEL + sequence)", "255 * LEVEL + sequence)"),
    ),
    test_put.test_job_at_the_front_precedes_others_of_its_priority: (
        ("put", " and not is_front", ""),
        ("shared/accept", "(255 - priority) * LEVEL - sequence - 1, -1", "255 * LEVEL - sequence - 1, -1"),
        (
            "shared/accept",
            "(255 - priority) * LEVEL - sequence - 1, -1",
            "(255 - priority) * LEVEL - sequence - 1, 1",
        ),
    ),
    test_put.test_full_server_refuses_puts_and_can_be_drained: (
        ("put", "#!lua\n", "#!lua flags=allow-oom\n"),
    ),
    test_put.test_wake_up_list_has_at_most_32_entries: (
        ("shared/wake", "math.min(count, MAX_WAKE_UPS - redis.call('LLEN', BELL))", "count"),
    ),
    test_line.test_producer_outside_the_line_gets_only_leftover_room: (
        ("shared/room", "maxsize - buffered() - ahead", "maxsize - buffered()"),
    ),
    test_line.test_repeated_put_keeps_the_place_in_line: (("shared/room", "'NX', behind + 1", "behind + 1"),),
    test_line.test_dead_producer_in_line_blocks_no_other_despite_the_clock: (
        ("shared/room", "        redis.call('ZREM', LINE, other)", ""),
        ("shared/room", "          redis.call('HDEL', SEEN, other)", ""),
        (
            "shared/room",
            "if other ~= waiter and is_gone(redis.call('HGET', SEEN, other), now) then",
            "if false then",
        ),
        ("shared/line", "math.abs(now - (tonumber(seen or 0) or 0))", "(now - (tonumber(seen or 0) or 0))"),
    ),
    test_line.test_served_producer_leaves_the_line: (
        ("shared/room", "redis.call('HDEL', SEEN, waiter) end", "end"),
        (
            "shared/room",
            "if rest == 0 and waiter ~= '' and redis.call('ZREM', LINE, waiter) == 1",
            "if false",
        ),
    ),
    test_line.test_any_release_of_room_wakes_the_line: (
        ("claim", "make_room(tonumber(meta[2]) or 0)", ""),
        ("cancel", "make_room(tonumber(redis.call('HGET', META, 'maxsize')) or 0)", ""),
        ("purge", "make_room(tonumber(redis.call('HGET', META, 'maxsize')) or 0)", ""),
        ("bound", "make_room(tonumber(ARGV[1]))", ""),
    ),
    test_line.test_forget_removes_dead_producers_from_the_line: (
        ("forget", "if is_gone(seen[place + 1], now) then", "if false then"),
        ("forget", "redis.call('ZREM', LINE, seen[place])", ""),
        ("forget", "redis.call('HDEL', SEEN, seen[place])", ""),
        ("forget", "redis.call('ZREMRANGEBYSCORE', INBOXES, '-inf', now)", ""),
        ("forget", "if tidied > 0 then make_room", "if false then make_room"),
    ),
    test_line.test_line_is_not_woken_without_room: (("shared/wake", "if free <= 0 then return end", ""),),
    test_line.test_room_wakes_only_as_many_producers_as_fit: (
        ("shared/wake", "math.min(free, MAX_WAKE_UPS) - 1", "-1"),
    ),
    test_line.test_producer_that_leaves_admits_the_next: (
        ("leave", "redis.call('ZREM', LINE, ARGV[1])", ""),
        ("leave", "make_room(tonumber(redis.call('HGET', META, 'maxsize')) or 0)", ""),
        ("leave", "redis.call('HDEL', SEEN, ARGV[1])", ""),
    ),
    test_line.test_shutdown_wakes_every_producer_in_line: (
        ("shut", "for _, waiter in ipairs(redis.call('ZRANGE', LINE, 0, 255)) do wake(waiter) end", ""),
    ),
    test_claim.test_leases_of_many_jobs_are_kept_in_a_hash_table: (
        ("claim", "(taken > MANY and PADDING or '') .. newest", "newest"),
    ),
    test_claim.test_claim_sent_twice_returns_the_jobs_still_held: (
        ("claim", "if last and string.sub(last, 1, #nonce + 1) == nonce .. ' ' then", "if false then"),
        ("claim", "redis.call('SET', claim_key, table.concat(memory, ' '), 'PX', 60000)", ""),
        ("claim", "is_holder(redis.call('HGET', LEASES, words[place]), words[2])", "true"),
    ),
    test_claim.test_nonce_with_the_same_prefix_is_different: (
        ("claim", "string.sub(last, 1, #nonce + 1) == nonce .. ' '", "string.sub(last, 1, #nonce) == nonce"),
    ),
    test_claim.test_same_nonce_of_another_owner_is_different: (
        ("claim", "local claim_key = BASE .. 'claim:' .. owner", "local claim_key = BASE .. 'claim:anyone'"),
    ),
    test_claim.test_job_taken_by_another_owner_is_not_returned_again: (
        (
            "claim",
            "is_holder(redis.call('HGET', LEASES, words[place]), words[2])",
            "redis.call('HGET', LEASES, words[place])",
        ),
    ),
    test_claim.test_duplicate_of_an_old_claim_returns_no_jobs: (
        ("claim", "tonumber(number) < tonumber(last_number)", "false"),
    ),
    test_claim.test_repeated_empty_claim_returns_no_jobs_later: (
        ("claim", "if want == 0 or ARGV[7] == 'again' then", "if want == 0 then"),
    ),
    test_claim.test_claim_for_0_jobs_voids_a_claim_under_way: (
        ("claim", "if want == 0 or ARGV[7] == 'again' then", "if ARGV[7] == 'again' then"),
    ),
    test_claim.test_tokens_grow_if_the_clock_is_set_back: (
        ("claim", "math.max((tonumber(meta[5]) or 0) + 1, now * 1000)", "now * 1000"),
    ),
    test_claim.test_claim_without_jobs_has_a_reason_and_changes_nothing: (
        ("claim", "  if meta[3] then return nothing('PAUSED') end", ""),
        ("claim", "if meta[4] and not due then return nothing('SHUT') end", ""),
    ),
    test_claim.test_queue_after_shutdown_still_returns_waiting_jobs: (
        ("claim", "if meta[4] and not due then", "if meta[4] then"),
    ),
    test_claim.test_claim_moves_the_first_jobs_under_a_token_and_starts_one: (
        ("claim", "redis.call('ZREMRANGEBYRANK', READY, 0, taken - 1)", ""),
        ("claim", "each_part('ZADD', LEASED, ends)", ""),
        ("claim", "each_part('HSET', LEASES, leases)", ""),
        ("claim", "local how = #leases == 0 and first_how or 'H'", "local how = first_how"),
    ),
    test_claim.test_recovered_job_is_claimed_separately: (
        ("claim", "local is_suspect = text and string.sub(text, -4) ~= ' 0 0'", "local is_suspect = false"),
    ),
    test_claim.test_claim_returns_at_most_a_mebibyte_but_at_least_a_job: (
        ("claim", "(is_suspect or size > max_bytes)", "is_suspect"),
    ),
    test_claim.test_entries_without_a_job_are_dropped_and_counted: (
        ("claim", "if #gone > 0 then redis.call('HINCRBY', META, 'orphans', #gone) end", ""),
        ("claim", "  if bytes[place] then", "  if true then"),
    ),
    test_claim.test_wake_up_is_passed_on_while_jobs_remain: (
        ("claim", "if left > 0 and redis.call('EXISTS', BELL) == 0 then ring(1) end", ""),
    ),
    test_claim.test_pause_and_resume_change_no_job_and_wake_waiters: (
        ("resume", "ring(math.min(redis.call('ZCARD', READY), MAX_WAKE_UPS))", ""),
        ("pause", ", 'paused', 1", ""),
        ("resume", "redis.call('HDEL', META, 'paused', 'shutdown')", ""),
    ),
    test_release.test_renewal_names_the_lost_lease_if_a_job_is_held_twice: (
        ("renew", "if is_holder(text, token) then", "if text then"),
    ),
    test_release.test_renewal_reports_lost_leases_and_restores_none: (
        ("renew", "if is_holder(", "redis.call('ZADD', LEASED, till, id) if is_holder("),
        ("renew", "lost[#lost + 1] = (place - 2) / 3", ""),
    ),
    test_release.test_renewal_extends_the_named_leases_and_their_start_flags: (
        ("renew", "redis.call('ZADD', LEASED, 'XX', till, id)", ""),
        ("renew", "lease.how = how", ""),
    ),
    test_release.test_renewal_reports_cancel_requests_until_the_jobs_end: (
        ("renew", "if lease.how == 'C' then", "if false then"),
    ),
    test_release.test_renewal_recovers_expired_leases_of_others: (
        ("renew", "promote(now) + reap(clock, now) > 0", "promote(now) > 0"),
    ),
    test_release.test_second_or_foreign_release_changes_nothing: (
        ("release", "if is_holder(text, token) then", "if text then"),
        ("release", "if is_holder(", "redis.call('ZREM', LEASED, id) if is_holder("),
    ),
    test_release.test_release_of_a_job_marked_as_cancelled_cancels_it: (
        ("release", "if lease.how == 'C' then", "if false then"),
        ("release", "conclude()", "admit_next()"),
    ),
    test_release.test_released_jobs_return_to_their_position_without_blame: (
        ("release", "redis.call('HDEL', LEASES, id)", ""),
        ("release", "redis.call('HDEL', PROGRESS, id)", ""),
        ("release", "  ring(released)", ""),
        ("release", "redis.call('ZREM', LEASED, id)", ""),
        ("release", "put_back(id, lease.place)", "put_back(id, '9')"),
    ),
    test_finish.test_holder_of_an_expired_lease_cannot_settle_a_retaken_job: (
        ("finish", "lease and string.sub(lease, 1, length) == prefix", "lease"),
        ("finish", "~= outcome then", "== false then"),
    ),
    test_finish.test_token_with_the_same_prefix_is_wrong: (
        ("finish", "local prefix = token .. ' '", "local prefix = token"),
    ),
    test_finish.test_finish_settles_only_the_held_jobs_of_a_batch: (
        ("finish", "if lease and string.sub(lease, 1,", "if not lease or string.sub(lease, 1,"),
    ),
    test_finish.test_finish_with_a_wrong_token_changes_nothing: (
        ("finish", "local now = ", "each_part('ZREM', LEASED, asked) local now = "),
    ),
    test_finish.test_finish_sent_twice_has_no_second_effect: (("finish", "~= outcome then", "~= nil then"),),
    test_finish.test_finish_removes_all_records_but_the_outcome: (
        ("finish", "clear_traces(letters, ids, outcomes)", ""),
        ("finish", "if ARGV[place + 3] ~= '' then remember('end', ARGV[place + 3]) end", ""),
        ("shared/traces", "each_part('HDEL', PROGRESS, ids)", ""),
        ("finish", "each_part('ZREM', LEASED, ids)", ""),
        ("finish", "each_part('HDEL', LEASES, ids)", ""),
        ("finish", "each_part('HDEL', JOBS, ids)", ""),
        ("finish", "if redis.call('EXISTS', TRIES) == 1 then each_part('HDEL', TRIES, ids) end", ""),
        ("finish", "redis.call('HINCRBY', META, counter, #ids)", ""),
    ),
    test_finish.test_outcome_without_keep_time_is_kept_for_resent_commands: (
        ("shared/deliver", "if keep_ms < MIN_KEEP then keep_ms = MIN_KEEP end", "keep_ms = keep_ms + 1"),
    ),
    test_finish.test_progress_after_the_end_is_not_kept: (
        ("plain/progress", "if redis.call('HEXISTS', KEYS[2], ARGV[place]) == 1 then", "if true then"),
    ),
    test_append.test_items_are_appended_only_at_the_end_of_the_stream: (
        ("append", "if first ~= length then return {'OK', length} end", ""),
    ),
    test_append.test_append_with_a_wrong_token_is_refused_without_effect: (
        (
            "append",
            "if not is_holder(redis.call('HGET', LEASES, id), token) then return {'STALE'} end",
            "",
        ),
    ),
    test_append.test_stream_does_not_exceed_its_max_bytes: (
        ("append", "if bytes > tonumber(ARGV[5]) then return {'FULL'} end", ""),
        ("append", " + ENTRY_BYTES", ""),
    ),
    test_append.test_stream_without_its_record_is_begun_again: (
        ("append", "if not record then redis.call('DEL', stream) end", ""),
    ),
    test_append.test_stream_of_a_finished_job_expires_with_its_outcome: (
        ("shared/traces", "if redis.call('EXISTS', STREAMS) == 1 then end_streams(ids) end", ""),
        (
            "shared/traces",
            "      redis.call('PEXPIRE', stream, redis.call('PTTL', BASE .. 'outcome:' .. id))\n",
            "",
        ),
        ("shared/traces", "      redis.call('HDEL', STREAMS, id)", ""),
        ("shared/deliver", "'EXISTS', PROGRESS, WATCHERS, STREAMS", "'EXISTS', PROGRESS, WATCHERS"),
    ),
    test_append.test_revived_job_begins_its_stream_anew: (("revive", ", BASE .. 'stream:' .. id)", ")"),),
    test_fail.test_fail_with_another_token_is_stale_and_has_no_effect: (
        ("fail", "if not is_holder(text, token) then", "if not text then"),
        ("fail", "if not is_holder(", "redis.call('ZREM', LEASED, id) if not is_holder("),
    ),
    test_fail.test_second_fail_command_has_no_effect: (
        ("fail", "redis.call('HGET', REASONS, id) == ARGV[3] and 'OK' or 'STALE'", "'STALE'"),
    ),
    test_fail.test_fail_of_a_job_that_was_failed_differently_is_stale: (
        ("fail", "redis.call('HGET', REASONS, id) == ARGV[3] and", "redis.call('HGET', REASONS, id) and"),
    ),
    test_fail.test_revived_job_has_no_tries_and_waits_behind_the_others: (
        ("revive", "redis.call('HDEL', REASONS, id)", ""),
        ("revive", "redis.call('HDEL', GROUPS, id)", ""),
        ("revive", "redis.call('HSET', META, 'sequence', exact(sequence + revived))", ""),
        ("revive", "ring(revived)", ""),
        ("revive", "if redis.call('ZSCORE', DEAD, id) and", "if"),
        ("revive", "    redis.call('ZREM', DEAD, id)\n", ""),
        ("revive", "redis.call('DEL', BASE .. 'outcome:' .. id, BASE .. 'stream:' .. id)", ""),
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
    test_fail.test_second_discard_has_no_effect: (
        ("discard", "if redis.call('ZREM', DEAD, id) == 1 then", "if true then"),
    ),
    test_fail.test_discarded_dead_job_is_removed_and_counted: (
        ("discard", "redis.call('HDEL', REASONS, id)", ""),
        ("discard", "redis.call('HDEL', GROUPS, id)", ""),
        ("discard", "redis.call('HDEL', JOBS, id)", ""),
        ("discard", "redis.call('HINCRBY', META, 'discarded', discarded)", ""),
    ),
    test_fail.test_failed_job_is_dead_with_its_bytes_tries_and_reason: (
        ("shared/settle", "redis.call('HDEL', LEASES, id)", ""),
        ("shared/settle", "redis.call('HSET', GROUPS, id, reason.group)", ""),
        ("shared/settle", "redis.call('HSET', REASONS, id, reason.lost)", ""),
        ("shared/settle", "redis.call('ZADD', DEAD, newest > now and newest + 1 or now, id)", ""),
        ("shared/settle", "add_attempt(id, reason.attempt, DEAD_KEEP)", ""),
        ("fail", "remember('end', ARGV[5])", ""),
        ("shared/settle", "redis.call('ZREM', LEASED, id)", ""),
    ),
    test_fail.test_oldest_dead_job_beyond_ten_thousand_is_dropped: (
        ("shared/settle", "if redis.call('ZCARD', DEAD) > MAX_DEAD then", "if false then"),
    ),
    test_fail.test_oldest_dead_job_is_dropped_with_all_its_records: (
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
    test_retry.test_claim_takes_a_job_that_has_just_become_due: (("claim", "  promote(now)\n", ""),),
    test_retry.test_promotion_moves_64_jobs_and_runs_on_claims_and_renewals: (
        ("renew", "promote(now) + reap(clock, now) > 0", "reap(clock, now) > 0"),
    ),
    test_retry.test_retry_with_another_token_is_stale_and_changes_nothing: (
        ("retry", "if not is_holder(text, token) then", "if not text then"),
        ("retry", "if not is_holder(", "redis.call('ZREM', LEASED, id) if not is_holder("),
        ("shared/lease", "#token + 1) == token .. ' '", "#token) == token"),
    ),
    test_retry.test_retry_of_a_job_marked_as_cancelled_cancels_it: (
        ("retry", "if lease.how == 'C' then", "if false then"),
    ),
    test_retry.test_retried_job_is_delayed_with_a_retry_used: (
        ("retry", "redis.call('HDEL', PROGRESS, id)", ""),
        ("retry", "ring(1)", ""),
        ("retry", "remember('end', ARGV[4])", ""),
        ("retry", "add_attempt(id, ARGV[5], ATTEMPT_KEEP)", ""),
        ("retry", "redis.call('ZREM', LEASED, id)", ""),
        ("retry", "redis.call('HDEL', LEASES, id)", ""),
        ("retry", "retries + 1", "retries"),
    ),
    test_retry.test_retried_job_keeps_its_priority: (
        ("retry", "if priority > 0 then redis.call('HSET', PRIORITIES, id, priority) end", ""),
        ("shared/recover", "(255 - priority) * LEVEL", "255 * LEVEL"),
    ),
    test_retry.test_due_jobs_are_promoted_by_time_and_priority_and_wake: (
        ("shared/recover", "redis.call('HDEL', PRIORITIES, unpack(due))", ""),
        ("promote", "if moved > 0 then ring(moved) end", ""),
    ),
    test_retry.test_second_promotion_moves_no_job: (
        ("shared/recover", "redis.call('ZREM', DELAYED, unpack(due))", ""),
    ),
    test_retry.test_delays_started_after_a_clock_was_set_back_are_exact: (
        ("shared/due", "if wall and now < wall then shift = shift + wall - now end", ""),
    ),
    test_lost.test_claim_recovers_an_abandoned_job_and_takes_it: (
        ("claim", "if has_lapsed then reap(clock, now) end", ""),
    ),
    test_lost.test_second_or_foreign_loss_report_changes_nothing: (
        ("lost", "if not is_holder(text, token) then", "if not text then"),
        ("lost", "if not is_holder(", "redis.call('ZREM', LEASED, id) if not is_holder("),
    ),
    test_lost.test_held_job_reported_as_running_counts_a_crash: (
        ("lost", "if lease.how ~= 'C' then lease.how = 'S' end", ""),
    ),
    test_lost.test_job_marked_as_cancelled_is_cancelled_if_its_worker_dies: (
        ("lost", "if lease.how ~= 'C' then lease.how = 'S' end", "lease.how = 'S'"),
        ("shared/recover", "if lease.how == 'C' then", "if false then"),
    ),
    test_lost.test_abandoned_lease_ends_in_time_after_a_clock_jump: (
        ("reap", "redis.call('HSET', META, 'clock', exact(clock), 'wall', exact(now))", ""),
    ),
    test_lost.test_only_the_started_job_of_an_expired_lease_is_blamed: (
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
    test_lost.test_lapses_and_crashes_are_counted_separately: (
        ("shared/recover", "if reason.lapsed then", "if false then"),
    ),
    test_lost.test_lost_running_job_counts_a_crash_and_keeps_its_position: (
        ("shared/recover", "redis.call('HDEL', PROGRESS, id)", ""),
        ("shared/recover", "put_back(id, lease.place)", ""),
        ("shared/recover", "if attempt ~= '' then add_attempt(id, attempt, ATTEMPT_KEEP) end", ""),
        ("lost", "if state == 'ready' then ring(1) end", ""),
        ("lost", "remember('end', ARGV[6])", ""),
        ("shared/recover", "recoveries + 1", "recoveries"),
    ),
    test_lost.test_entry_without_a_lease_is_dropped_and_counted: (
        ("shared/recover", "redis.call('HINCRBY', META, 'orphans', 1)", ""),
        ("shared/recover", "redis.call('ZREM', LEASED, id)\n      redis", "redis"),
    ),
    test_lost.test_joiners_are_woken_if_recovery_ends_the_last_job: (
        ("shared/recover", "conclude()", "admit_next()"),
    ),
    test_lost.test_clock_set_an_hour_ahead_ends_no_lease: (
        ("shared/lease", "math.min(now - wall, LEASE_STEP)", "now - wall"),
    ),
    test_lost.test_clock_set_back_does_not_freeze_leases: (
        ("shared/lease", "math.max(0, math.min(now - wall, LEASE_STEP))", "math.min(now - wall, LEASE_STEP)"),
    ),
    test_cancel.test_cancel_of_a_running_job_marks_it_and_names_its_owner: (
        ("cancel", "if lease.how ~= 'H' then", "if false then"),
        ("cancel", "redis.call('HSET', LEASES, id, write_lease(lease))", ""),
    ),
    test_cancel.test_cancel_of_waiting_jobs_only_spares_claimed_jobs: (
        ("cancel", "  if ARGV[5] then return {'running'} end", "  "),
        (
            "cancel",
            "if text then\n  if ARGV[5]",
            "if text and read_lease(text).how ~= 'H' then\n  if ARGV[5]",
        ),
        ("cancel", "(ARGV[4] or '') ~= ''", "ARGV[4]"),
    ),
    test_cancel.test_first_note_of_a_cancellation_is_kept: (
        ("cancel", "    note()\n    return", "    return"),
        ("cancel", "  note()\n  settle", "  settle"),
        ("cancel", "'NX', 'PX'", "'PX'"),
    ),
    test_cancel.test_second_cancel_has_no_effect: (
        ("cancel", "if outcome == ARGV[2] then return {'cancelled'} end", ""),
    ),
    test_cancel.test_purge_spares_jobs_accepted_after_the_given_job: (
        ("purge", "math.min(last, base + upto)", "last"),
    ),
    test_cancel.test_purge_spares_later_jobs_at_the_front_and_of_any_key: (
        ("purge", "math.max(first, base - upto)", "first"),
        ("shared/queue", "if score < -LEVEL / 2 then", "if false then"),
        ("shared/queue", "math.floor(score / LEVEL + 0.5)", "math.floor(score / LEVEL)"),
    ),
    test_cancel.test_purge_limits_its_chunks_to_a_megabyte: (
        ("purge", "if purged > 0 and bytes > MAX_BYTES then break end", ""),
    ),
    test_cancel.test_purge_wakes_joiners: (("purge", "conclude()", "admit_next()"),),
    test_cancel.test_waiting_job_is_cancelled_immediately: (
        ("shared/settle", "redis.call('ZREM', READY, id)", ""),
        ("shared/settle", "redis.call('HDEL', JOBS, id)\n  redis", "redis"),
        ("shared/settle", "redis.call('HINCRBY', META, counter, 1)", ""),
    ),
    test_cancel.test_delayed_job_is_cancelled_with_its_priority_and_tries: (
        ("shared/settle", "redis.call('HDEL', PRIORITIES, id)", ""),
        ("shared/settle", "redis.call('HDEL', TRIES, id)", ""),
        ("shared/settle", "redis.call('ZREM', DELAYED, id)", ""),
    ),
    test_cancel.test_outcome_of_a_cancelled_job_is_kept_for_its_own_time: (
        ("shared/settle", "own_keep(id) or keep_ms", "keep_ms"),
    ),
    test_join.test_only_the_end_of_the_last_job_wakes_joiners: (
        ("lost", "conclude()", "admit_next()"),
        ("finish", "  wake_joiners()\n", ""),
        ("fail", "conclude()", "admit_next()"),
        ("cancel", "conclude()", "admit_next()"),
        ("shared/wake", "if redis.call('EXISTS', READY, DELAYED, DEFERRED, LEASED) > 0 then return end", ""),
    ),
    test_join.test_joiner_leaves_no_trace_after_the_last_job: (
        ("join", "redis.call('SREM', JOINERS, ARGV[1])", ""),
        ("join", "redis.call('HDEL', SEEN, ARGV[1])", ""),
    ),
    test_join.test_join_waits_for_all_unfinished_jobs: (("join", " + redis.call('ZCARD', LEASED)", ""),),
    test_listen.test_outcome_of_any_ending_is_pushed_to_the_producer: (
        ("finish", "  send_letters(letters)\n", ""),
    ),
    test_listen.test_outcome_is_kept_without_a_push_if_no_inbox_is_open: (
        ("shared/deliver", "until_when and tonumber(until_when) > now or false", "true"),
    ),
    test_listen.test_each_outcome_of_a_batch_is_pushed_to_its_watchers: (
        ("finish", "ids[count], outcomes[count] = id, outcome", "ids[count], outcomes[1] = id, outcome"),
        ("finish", "\nsend_letters(letters)", ""),
    ),
    test_listen.test_large_outcome_is_pushed_as_its_id_unless_first: (
        ("shared/deliver", " or #letter[place] > LETTER_BYTES and entries > 2", ""),
    ),
    test_listen.test_open_inbox_is_recorded_with_its_end_only: (
        ("listen", "redis.call('ZADD', INBOXES, now + hold, inbox)", "0"),
    ),
    test_listen.test_outcome_of_a_watched_job_is_pushed_to_all_watchers: (
        ("shared/traces", "redis.call('HDEL', WATCHERS, id)", ""),
        ("listen", "    watch(id)", ""),
    ),
    test_listen.test_listen_returns_the_outcomes_of_jobs_that_have_ended: (
        ("listen", "if not outcome and redis.call('HEXISTS', JOBS, id) == 0 then outcome = '' end", ""),
    ),
    test_forget.test_queue_with_jobs_is_not_removed: (
        ("forget", "if sizes[1] + sizes[2] + sizes[3] + sizes[4] + sizes[5] > 0 then", "if false then"),
    ),
    test_forget.test_queue_unused_for_thirty_days_is_forgotten: (
        ("forget", "unused > 0 and not is_unused() then", "false then"),
    ),
    test_forget.test_late_tally_does_not_recreate_a_deleted_queue: (
        ("tally", "if not version and ARGV[3] ~= '-' then return {'OK'} end", ""),
    ),
    test_forget.test_jobs_put_during_a_deletion_stay: (
        ("plain/clear", "if redis.call('HEXISTS', KEYS[1], 'born') == 1 then return 0 end", ""),
    ),
    test_tally.test_repeated_tally_counts_once_even_after_a_later_tally: (
        ("tally", "if number > (tonumber(redis.call('GET', number_key)) or 0) then", "if true then"),
    ),
    test_versions.test_newer_queue_is_left_alone: (
        ("put", "if is_foreign(meta[1]) then return {'VERSION'} end", ""),
        ("fire", "if is_foreign(meta[1]) then return {'VERSION'} end", ""),
        ("schedule", "if is_foreign(version) then return {'VERSION'} end", ""),
        ("reschedule", "if is_foreign(version) then return {'VERSION'} end", ""),
        ("claim", "if is_foreign(meta[1]) then return {'VERSION'} end", ""),
        ("submit", "if is_foreign(meta[1]) then return {'VERSION'} end", ""),
        ("follow", "if is_foreign(redis.call('HGET', META, 'version')) then return {'VERSION'} end", ""),
        ("end_rest", "if is_foreign(redis.call('HGET', META, 'version')) then return {'VERSION'} end", ""),
        ("go_on", "if is_foreign(redis.call('HGET', META, 'version')) then return {'VERSION'} end", ""),
        ("hook", "if is_foreign(redis.call('HGET', META, 'version')) then return {'VERSION'} end", ""),
        ("limit", "if is_foreign(redis.call('HGET', META, 'version')) then return {'VERSION'} end", ""),
        ("age", "if is_foreign(redis.call('HGET', META, 'version')) then return {'VERSION'} end", ""),
        ("end_rest", "if is_foreign(redis.call('HGET', META, 'version')) then return {'VERSION'} end", ""),
        ("cancel", "if is_foreign(redis.call('HGET', META, 'version')) then return {'VERSION'} end", ""),
        ("revive", "if is_foreign(redis.call('HGET', META, 'version')) then return {'VERSION'} end", ""),
        ("signal", "if is_foreign(redis.call('HGET', META, 'version')) then return {'VERSION'} end", ""),
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
            "  if is_foreign(redis.call('HGET', META, 'version')) then return 0 end\n",
            "",
        ),
        ("shared/recover", "#lapsed == 0 or is_foreign(redis.call('HGET', META, 'version'))", "#lapsed == 0"),
    ),
    test_versions.test_count_of_lapses_takes_a_queue_over: (
        ("shared/queue", "if version == BEFORE then", "if false then"),
    ),
    test_release.test_released_run_is_recorded_once_and_uses_no_attempt: (
        ("release", "if ARGV[2] ~= '' then add_attempt(id, ARGV[2], ATTEMPT_KEEP) end", ""),
    ),
    test_join.test_dead_joiners_are_forgotten: (("shared/wake", "    redis.call('HDEL', SEEN, waiter)", ""),),
    test_claim.test_unreceived_jobs_do_not_count_as_crashed: (
        ("claim", ">= LAPSE_BUDGET then first_how = 'S' end", ">= 9999 then first_how = 'S' end"),
    ),
    test_listen.test_closed_inbox_is_removed_with_its_content: (
        ("listen", "redis.call('ZREM', INBOXES, inbox)", ""),
        ("listen", "redis.call('DEL', BASE .. 'inbox:' .. inbox)", ""),
    ),
    test_join.test_departed_joiner_is_not_woken: (("leave", "redis.call('SREM', JOINERS, ARGV[1])", ""),),
    test_join.test_joiner_removes_dead_joiners: (
        ("join", "    redis.call('SREM', JOINERS, other)", ""),
        ("join", "    redis.call('HDEL', SEEN, other)", ""),
    ),
    test_join.test_forget_removes_dead_joiners: (("forget", "redis.call('SREM', JOINERS, seen[place])", ""),),
    test_listen.test_expired_inbox_was_not_open: (
        ("listen", "redis.call('ZREMRANGEBYSCORE', INBOXES, '-inf', now)", ""),
    ),
    test_forget.test_only_the_last_deleted_births_are_kept: (
        ("forget", "redis.call('LTRIM', BASE .. 'deleted', 0, MAX_DELETED - 1)", ""),
    ),
    test_forget.test_deleted_queue_leaves_no_key_and_no_name: (
        ("forget", "redis.call('UNLINK', META", "redis.call('EXISTS', META"),
        ("plain/clear", "redis.call('UNLINK', unpack(KEYS, 2))", ""),
    ),
    test_forget.test_queues_of_other_programs_are_left_alone: (
        ("plain/note", "redis.call('SADD', KEYS[1], ARGV[1])", "0"),
    ),
    test_schedules.test_fired_instant_is_a_waiting_job: (("fire", "ring(put)", "ring(0)"),),
    test_schedules.test_instant_fired_by_another_consumer_is_not_fired_again: (
        ("fire", "if not due or tonumber(due) ~= tonumber(expected) then", "if not due then"),
    ),
    test_schedules.test_fired_instant_stays_fired_if_the_clock_was_set_back: (
        ("fire", "if instant > was.at then", "if true then"),
        ("fire", "    was.at = instant", ""),
    ),
    test_schedules.test_unknown_and_paused_schedules_fire_nothing: (
        ("reschedule", "redis.call('ZREM', INSTANTS, name)", ""),
    ),
    test_schedules.test_schedule_without_a_further_instant_ends: (
        ("fire", "then redis.call('ZREM', INSTANTS, name) else", "then following = 0 else"),
    ),
    test_schedules.test_known_id_counts_as_fired: (
        (
            "fire",
            "if redis.call('HEXISTS', JOBS, id) + redis.call('EXISTS', BASE .. 'outcome:' .. id) == 0 then",
            "if true then",
        ),
    ),
    test_schedules.test_shut_queue_keeps_the_instant: (("fire", "if meta[3] then return {'SHUT'} end", ""),),
    test_schedules.test_full_queue_takes_one_job_of_each_schedule: (
        ("fire", "elseif not has_room() then", "elseif false then"),
        (
            "fire",
            "return not is_unfinished() or redis.call('ZSCORE', LEASED, was.job)",
            "return not is_unfinished()",
        ),
        ("fire", "following = ARGV[place]", ""),
    ),
    test_schedules.test_dead_job_does_not_count_as_unfinished: (
        ("fire", " and not redis.call('ZSCORE', DEAD, was.job)", ""),
    ),
    test_schedules.test_instant_is_held_until_the_job_before_has_finished: (
        ("fire", "if overlap == 'queue' and", "if false and"),
        ("fire", "was.held, was.skipped, was.missed = '0',", "was.held, was.skipped, was.missed = was.held,"),
    ),
    test_schedules.test_nothing_is_held_if_nothing_is_to_be_fired: (("fire", "#ARGV >= FIRST and", ""),),
    test_schedules.test_equal_timing_keeps_the_next_instant: (
        ("schedule", " and timing ~= old_timing then", " then"),
        ("schedule", " and timing ~= old_timing then", " and not old_timing then"),
    ),
    test_schedules.test_paused_schedule_stays_paused_if_set_again: (
        ("schedule", "if not is_paused and timing", "if timing"),
    ),
    test_schedules.test_module_replaces_its_own_schedules_only: (
        ("schedule", "if read(text) == module and not kept[name] then", "if not kept[name] then"),
        ("schedule", "if read(text) == module and not kept[name] then", "if false then"),
    ),
    test_schedules.test_consumer_that_started_later_decides: (
        ("schedule", "if start < last and", "if false and"),
        ("schedule", "if start < last and", "if start <= last and"),
    ),
    test_schedules.test_start_in_the_future_decides_nothing: (
        ("schedule", " and last <= server_time() then", " then"),
    ),
    test_schedules.test_schedule_of_code_is_not_replaced_at_run_time: (
        ("schedule", "read(before[name]) ~= '' then", "false then"),
    ),
    test_schedules.test_queue_has_a_limited_number_of_schedules: (
        ("schedule", "if size > MAX_SCHEDULES then", "if false then"),
    ),
    test_schedules.test_removed_schedule_leaves_nothing: (
        ("shared/schedule", "redis.call('HDEL', SCHEDULES, name)", ""),
        ("shared/schedule", "redis.call('ZREM', INSTANTS, name)", ""),
        ("shared/schedule", "redis.call('HDEL', FIRED, name)", ""),
    ),
    test_schedules.test_queue_with_schedules_is_kept_unless_deleted: (
        ("forget", " or redis.call('EXISTS', SCHEDULES) == 1 then", " then"),
    ),
    test_retry.test_last_twenty_attempts_are_kept_for_a_day: (
        ("shared/settle", "redis.call('LTRIM', list, -MAX_ATTEMPTS, -1)", ""),
    ),
    test_plain.test_control_command_is_kept_for_a_minute_after_the_last: (
        ("plain/tell", "redis.call('EXPIRE', KEYS[1], ARGV[1])", ""),
    ),
    test_plain.test_report_is_listed_and_expires_after_twenty_seconds: (
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
    test_steps.test_step_keeps_its_first_value: (
        ("step", "elseif kept then", "elseif false then"),
        ("step", "kept == value and {'OK'} or {'KEPT', kept}", "{'KEPT', kept}"),
        ("shared/steps", "(old and -#old or #field)", "0"),
    ),
    test_steps.test_cursor_keeps_its_last_value: (
        ("shared/steps", "(old and -#old or #field)", "#field"),
        ("shared/steps", "old and string.match(old, '^%d+') or exact(count + 1)", "exact(count + 1)"),
    ),
    test_steps.test_late_save_of_a_cursor_changes_nothing: (
        ("step", "tonumber(string.match(kept, '^%d+')) >= save", "false"),
        ("step", "tonumber(string.match(kept, '^%d+')) >= save", "string.match(kept, '^%d+') >= ARGV[5]"),
    ),
    test_steps.test_step_with_a_wrong_token_is_refused_without_effect: (
        ("step", "if not is_holder(redis.call('HGET', LEASES, id), token) then", "if false then"),
        ("wait", "if not is_holder(redis.call('HGET', LEASES, id), token) then", "if false then"),
        ("suspend", "if not is_holder(text, token) then", "if not text then"),
    ),
    test_steps.test_steps_of_a_job_are_limited: (
        ("shared/steps", "tonumber(number) > MAX_STEPS or", ""),
        ("shared/steps", " or bytes > MAX_STEP_BYTES", ""),
    ),
    test_steps.test_steps_are_removed_when_their_job_is_over: (
        ("shared/traces", "  if not is_dead then forget_steps(ids) end\n", ""),
        (
            "shared/deliver",
            "'EXISTS', PROGRESS, WATCHERS, STREAMS, STEPS",
            "'EXISTS', PROGRESS, WATCHERS, STREAMS",
        ),
        ("shared/traces", "redis.call('DEL', BASE .. 'steps:' .. ids[place])", ""),
        ("shared/traces", "redis.call('HDEL', STEPS, ids[place])", ""),
        ("discard", "    forget_steps({id})\n", ""),
    ),
    test_steps.test_revived_job_has_the_steps_of_the_dead_one: (
        ("shared/traces", "  if not is_dead then forget_steps(ids) end", "  forget_steps(ids)"),
    ),
    test_steps.test_oldest_dead_job_is_dropped_with_its_steps: (
        ("shared/settle", "    forget_steps({oldest})\n", ""),
    ),
    test_steps.test_sleep_ends_at_the_time_set_by_its_first_look: (
        ("wait", "if not till then", "if true then"),
        ("suspend", "redis.call('ZREM', LEASED, id)", ""),
        ("suspend", "redis.call('HDEL', LEASES, id)", ""),
    ),
    test_steps.test_suspended_job_is_ready_if_its_sleep_has_ended: (
        ("suspend", "till <= due_clock(now) or ", ""),
        ("suspend", "if till == 0 then promote(now) end", ""),
    ),
    test_steps.test_suspension_keeps_priority_and_is_remembered: (
        ("suspend", "if priority > 0 then redis.call('HSET', PRIORITIES, id, priority) end", ""),
        ("suspend", "redis.call('HDEL', PROGRESS, id)", ""),
        ("suspend", "if ARGV[5] ~= '' then add_attempt(id, ARGV[5], ATTEMPT_KEEP) end", ""),
    ),
    test_steps.test_cancelled_job_ends_instead_of_being_suspended: (
        ("suspend", "if lease.how == 'C' then", "if false then"),
    ),
    test_steps.test_suspended_job_gives_its_slot_to_the_next_one: (
        ("suspend", "rest_until_due(id)", ""),
        ("suspend", "promote(now) end\nconclude()", "promote(now) end"),
    ),
    test_steps.test_suspended_job_of_an_ordered_limit_keeps_its_slot: (
        ("suspend", "rest_until_due(id)", ""),
    ),
    test_steps.test_cancellation_of_a_run_frees_its_slot: (
        ("suspend", "'cancelled', now)\n  conclude()", "'cancelled', now)\n  wake_joiners()"),
    ),
    test_steps.test_signal_wakes_the_job_that_waits_for_it: (
        ("signal", "  promote(server_time())\n", ""),
        ("signal", "  ring(1)\n", ""),
    ),
    test_steps.test_signal_between_look_and_suspension_makes_the_job_ready: (
        ("suspend", " or kind == 'wait' and kept_step(id, 'signal ' .. name)", ""),
    ),
    test_steps.test_first_value_of_a_signal_is_kept: (
        ("signal", "if kept and not (kept == '' and redis.call('ZSCORE', DEAD, id)) then", "if false then"),
    ),
    test_steps.test_other_signal_wakes_no_job: (
        ("signal", "if till and tonumber(due) == tonumber(till) then", "if due then"),
    ),
    test_steps.test_signal_does_not_shorten_the_delay_of_a_retry: (
        ("signal", "if till and tonumber(due) == tonumber(till) then", "if till then"),
    ),
    test_steps.test_timeout_of_a_wait_is_final: (
        ("wait", "if kind == 'wait' and not keep_step(id, 'signal ' .. name, '') then", "if false then"),
        ("wait", "if signal == '' then return {'OVER'} end", ""),
    ),
    test_steps.test_dead_job_can_get_a_signal_after_its_timeout: (
        ("signal", "if kept and not (kept == '' and redis.call('ZSCORE', DEAD, id)) then", "if kept then"),
    ),
    test_steps.test_signal_to_a_finished_or_unknown_job_changes_nothing: (
        ("signal", "if redis.call('HEXISTS', JOBS, id) == 0 then", "if false then"),
    ),
    test_limits.test_jobs_over_the_limit_of_their_key_are_deferred: (
        ("shared/terms", "is_free and (has_had", "true or (has_had"),
        ("submit", "own.m = limit", ""),
    ),
    test_limits.test_end_of_a_job_makes_the_next_of_its_key_ready: (
        ("shared/terms", "redis.call('ZPOPMIN', lane_of(key), free)", "{}"),
        ("shared/terms", "    limit.freed = true\n", ""),
        ("shared/terms", "each_part('ZREM', DEFERRED, ids)", ""),
        ("shared/terms", "each_part('HDEL', LIMITS, over)", ""),
        ("shared/terms", "each_part('HDEL', TERMS, over)", ""),
        ("shared/terms", "limit[slots] = math.max(0, limit[slots] - 1)", ""),
    ),
    test_claim.test_one_of_several_claims_goes_past_the_priorities: (
        ("claim", "if by_age then first = by_age end", ""),
        ("claim", "if is_apart then", "if false then"),
        ("claim", "  redis.call('ZREM', READY, ids[1])\n", ""),
    ),
    test_rests.test_rest_of_the_queue_is_counted_until_it_ends: (
        ("end_rest", "  redis.call('HDEL', META, 'rest')\n", ""),
    ),
    test_limits.test_next_job_wakes_a_consumer: (
        ("finish", "conclude()", ""),
        ("shared/terms", "  ring(count)\n", ""),
    ),
    test_limits.test_few_jobs_of_a_key_are_ready_at_a_time: (
        ("shared/terms", "local free = QUANTUM - limit[READY_SLOTS]", "local free = 999"),
    ),
    test_limits.test_next_job_keeps_its_priority: (
        ("shared/terms", "exact(base_of(next_ones[2 * place]) + last", "exact(255 * LEVEL + last"),
    ),
    test_limits.test_delayed_job_gets_its_slot_once_it_is_due: (
        ("shared/terms", "{own[1] or 0, own[2] or 0,", "{0, 0,"),
        ("shared/terms", "if priority > 0 then redis.call('HSET', PRIORITIES, id, priority) end", ""),
        ("shared/recover", "    if terms[offset] then\n", "    if false then\n"),
    ),
    test_limits.test_newest_definition_of_a_limit_holds: (
        ("submit", "      shared[part] = limit[part]\n", ""),
    ),
    test_limits.test_job_that_ends_early_frees_its_slot: (
        ("shared/terms", "redis.call('ZREM', lane_of(key), id)", ""),
    ),
    test_limits.test_lost_job_that_was_to_be_cancelled_frees_its_slot: (
        ("lost", "conclude()", "wake_joiners()"),
    ),
    test_limits.test_claims_count_for_limits_that_need_it: (
        ("shared/terms", "counts = counts or limit[STARTS] > 0 or", "counts = counts or"),
        ("shared/terms", " or limit[RUNNING] > QUANTUM", ""),
        ("claim", "take(leased, terms, is_counting)", "take(leased, terms)"),
    ),
    test_limits.test_started_job_has_no_slot_of_a_limit_of_starts: (
        ("shared/terms", "if limit[RUNNING] > 0 then\n          letter", "if true then\n          letter"),
        ("throttle", "limit_of(key, terms)", "limit_of(key)"),
    ),
    test_limits.test_run_that_is_not_the_last_frees_its_slot: (
        ("retry", "rest_until_due(id)", ""),
        ("fail", "conclude()", "wake_joiners()"),
        (
            "retry",
            "add_attempt(id, ARGV[5], ATTEMPT_KEEP)\nif delay == 0 then promote(server_time()) end\nconclude()",
            "",
        ),
    ),
    test_limits.test_job_that_comes_back_precedes_the_deferred_ones: (
        ("shared/terms", "math.min(tonumber(place), tonumber(first) - 1)", "tonumber(first) + 9"),
    ),
    test_limits.test_job_that_comes_back_keeps_its_priority: (
        (
            "shared/terms",
            "if not first or limit[ORDERED] == 0 and base_of(first) ~= base_of(place) then return place end",
            "if not first then return place end",
        ),
    ),
    test_limits.test_jobs_in_order_are_not_overtaken_by_a_retry: (
        ("shared/terms", "  if limit and limit[ORDERED] == 1 then\n", "  if false then\n"),
        ("shared/terms", "string.sub(text, 1, 1) == 'k'", "false"),
    ),
    test_limits.test_throttled_job_in_order_stays_the_first: (
        (
            "shared/terms",
            "limit[ORDERED] == 0 and base_of(first) ~= base_of(place)",
            "base_of(first) ~= base_of(place)",
        ),
    ),
    test_limits.test_starts_within_a_period_are_limited: (
        (
            "shared/terms",
            "  for key, count in pairs(started) do note_starts(key, limits[key], count) end\n",
            "",
        ),
        ("shared/terms", "redis.call('ZADD', TURNS, exact(next_at), key)", ""),
    ),
    test_limits.test_wait_ends_with_the_period_of_the_oldest_start: (
        ("claim", "if turn then soonest =", "if false then soonest ="),
    ),
    test_limits.test_turn_of_a_key_is_over_with_its_last_deferred_job: (
        ("shared/terms", "          redis.call('ZREM', TURNS, key)\n", ""),
    ),
    test_limits.test_slots_that_time_has_freed_are_used_by_the_next_script: (
        ("shared/terms", "(limit.freed or limit.has_turn)", "limit.freed"),
    ),
    test_limits.test_retried_job_in_order_is_first_once_a_start_is_free: (
        ("shared/terms", "then place = place_in_front(key, limit_of(key, text), place) end", "then end"),
    ),
    test_limits.test_first_start_of_a_queue_counts_if_its_job_was_delayed: (
        ("claim", "has_terms and redis.call('HGET', META, 'counting')", "false"),
    ),
    test_limits.test_ready_jobs_count_as_started: (
        ("shared/terms", "starts_within(key, limit) + limit[READY_SLOTS]", "starts_within(key, limit)"),
    ),
    test_limits.test_starts_of_an_ended_period_are_dropped: (
        ("shared/terms", "redis.call('RPOP', list)", ""),
        ("shared/terms", "redis.call('PEXPIRE', list, limit[PERIOD] + 60000)", ""),
    ),
    test_limits.test_turn_of_a_key_without_jobs_is_over: (
        ("shared/recover", "if #keys > 0 then redis.call('ZREM', TURNS, unpack(keys)) end", ""),
    ),
    test_limits.test_turns_of_many_keys_are_taken_in_slices: (
        ("shared/recover", "MAX_KEYS = 64, 32, 16", "MAX_KEYS = 64, 32, 99"),
    ),
    test_limits.test_running_jobs_of_the_queue_are_limited: (
        ("claim", "if whole[RUNNING] > 0 then", "if false then"),
        ("shared/wake", "if redis.call('HEXISTS', LIMITS, '') == 1 and", "if false and"),
    ),
    test_limits.test_starts_of_the_queue_are_limited: (
        ("claim", "if whole and #leased > 0 then note_starts('', whole, #leased) end", ""),
        ("claim", "math.max(1, expiring + whole[PERIOD] - limit_time())", "60000"),
    ),
    test_limits.test_limit_of_the_queue_is_set_and_removed: (
        ("limit", "redis.call('HDEL', LIMITS, '')", "redis.call('HGET', LIMITS, '')"),
        ("limit", "ring(1)", ""),
    ),
    test_limits.test_throttled_key_rests_and_others_go_on: (
        ("throttle", "limit[REST] = math.max(limit[REST], till)", ""),
        ("throttle", "redis.call('ZREM', LEASED, id)", ""),
        ("throttle", "redis.call('HDEL', LEASES, id)", ""),
        ("throttle", "add_attempt(id, ARGV[5], ATTEMPT_KEEP)", ""),
        ("throttle", "ring(1)", ""),
        ("shared/terms", "      redis.call('ZREM', READY, ids[place])\n", ""),
        (
            "shared/terms",
            "if limit[REST] > 0 and limit[REST] > limit_time() then return 0, limit[REST] end",
            "",
        ),
    ),
    test_limits.test_rest_of_a_key_without_jobs_is_forgotten: (
        (
            "shared/terms",
            "and (limit[REST] == 0 or limit[REST] <= limit_time())",
            "",
        ),
    ),
    test_limits.test_throttled_queue_rests: (
        ("claim", "if meta[8] and tonumber(meta[8]) > limit_time() then", "if false then"),
        ("throttle", "ARGV[4] ~= 'queue' and", ""),
    ),
    test_limits.test_longest_rest_holds: (
        ("throttle", "exact(math.max(before, till))", "exact(till)"),
        ("throttle", "math.max(limit[REST], till)", "till"),
    ),
    test_limits.test_throttle_of_a_job_marked_as_cancelled_cancels_it: (
        ("throttle", "if lease.how == 'C' then", "if false then"),
    ),
    test_limits.test_throttle_with_another_token_changes_nothing: (
        ("throttle", "if not is_holder(text, token) then", "if not text then"),
    ),
    test_limits.test_progress_of_a_throttled_run_is_removed: (
        ("throttle", "redis.call('HDEL', PROGRESS, id)", ""),
    ),
    test_limits.test_revived_jobs_keep_their_limit: (
        ("revive", "if terms then enter(id, terms, place) else", "if false then else"),
    ),
    test_limits.test_discarded_job_leaves_no_terms: (("discard", "redis.call('HDEL', TERMS, id)", ""),),
    test_limits.test_dropped_dead_job_leaves_no_terms: (
        ("shared/settle", "redis.call('HDEL', TERMS, oldest)", ""),
    ),
    test_limits.test_job_without_bytes_frees_its_slot: (
        ("claim", "if #gone > 0 then end_terms(gone, {}) end", ""),
        ("claim", "  admit_next()\nend\n", "end\n"),
    ),
    test_limits.test_job_without_a_lease_frees_its_slot: (("shared/recover", "end_terms({id}, {})", ""),),
    test_limits.test_job_without_terms_runs_without_a_slot: (
        (
            "shared/terms",
            "if text then -- otherwise nothing would ever free its slot\n",
            "if not text then for _, one in pairs(limits) do one[READY_SLOTS] = one[READY_SLOTS] + 1 end else\n",
        ),
    ),
    test_limits.test_job_of_a_lost_index_entry_is_not_deferred_when_it_ends: (
        ("shared/settle", "redis.call('ZREM', DEFERRED, id)", ""),
    ),
    test_limits.test_deferred_jobs_take_room_and_are_counted: (
        ("shared/wake", " + redis.call('ZCARD', DEFERRED)", ""),
    ),
    test_limits.test_shut_queue_waits_for_its_deferred_jobs: (
        ("claim", "not due and redis.call('EXISTS', DEFERRED) == 0", "not due"),
    ),
    test_limits.test_limited_put_sent_twice_has_no_second_effect: (
        ("submit", "  if bytes or over or other then\n", "  if other then\n"),
    ),
    test_unique.test_job_stands_for_further_ones_with_its_key: (
        (
            "submit",
            "other = holders[own.u] or redis.call('GET', BASE .. 'unique:' .. own.u)",
            "other = holders[own.u]",
        ),
        ("submit", "redis.call('SET', BASE .. 'same:' .. id, other, 'PX', SAME_KEEP)", ""),
    ),
    test_unique.test_first_of_a_batch_stands_for_the_others: (
        ("submit", "holders[own.u] = other or id", ""),
    ),
    test_unique.test_key_is_free_once_its_job_is_over: (
        ("shared/terms", "if terms.u and not terms.uk then free_key(id, terms) end", ""),
        ("shared/terms", "== id then redis.call('DEL', key) end", "== id then return end"),
    ),
    test_unique.test_key_that_ends_with_the_start_is_free_then: (
        ("shared/terms", "if more.us then free_key(id, more) end", ""),
    ),
    test_unique.test_job_that_waits_again_has_its_key_if_it_is_free: (
        (
            "shared/terms",
            "  leave(id, text, key)\n  hold_key(id, more_of(text))\n  if key",
            "  leave(id, text, key)\n  if key",
        ),
        (
            "shared/terms",
            "local key, letter = key_of(text), '-'\n  hold_key(id, more_of(text))",
            "local key, letter = key_of(text), '-'",
        ),
        (
            "shared/terms",
            "redis.call('SET', BASE .. 'unique:' .. terms.u, id, 'NX')",
            "redis.call('SET', BASE .. 'unique:' .. terms.u, id)",
        ),
    ),
    test_unique.test_start_of_a_job_frees_no_key_of_another: (
        ("shared/terms", "if redis.call('GET', key) == id then", "if true then"),
    ),
    test_unique.test_key_of_a_period_holds_beyond_the_end: (
        ("submit", "own.uk = 1", ""),
        ("submit", "redis.call('SET', key, id, 'PX', period)", "redis.call('SET', key, id)"),
    ),
    test_unique.test_cancelled_job_holds_no_key_of_a_period: (
        ("submit", "not (outcome and state_of(outcome) == 'cancelled')", "true"),
    ),
    test_unique.test_key_of_a_job_that_was_lost_is_free: (
        ("submit", "if other and not holders[own.u] and not is_standing(other) then other = nil end", ""),
    ),
    test_unique.test_dead_job_has_no_key_and_is_not_revived_beside_another: (
        ("revive", "(not terms or may_return(read_terms(terms), id))", "true"),
    ),
    test_unique.test_dead_job_is_revived_if_the_holder_of_its_key_is_lost: (
        (
            "revive",
            "if redis.call('HEXISTS', JOBS, holder) == 1 and not redis.call('ZSCORE', DEAD, holder) then",
            "if true then",
        ),
    ),
    test_unique.test_revived_job_of_a_period_does_not_need_its_key: (("revive", "terms.uk or", ""),),
    test_unique.test_waiting_job_gets_the_new_bytes: (
        ("submit", "redis.call('HSET', JOBS, id, bytes)", ""),
        ("submit", "old.x = 1", ""),
    ),
    test_unique.test_delay_of_a_replaced_job_begins_again: (
        ("submit", "if is_delayed and delay > 0 then", "if false then"),
        ("submit", "if is_delayed and delay > 0 then", "if is_delayed then"),
    ),
    test_unique.test_job_that_does_not_wait_keeps_its_bytes: (
        (
            "submit",
            "if not (is_delayed or redis.call('ZSCORE', READY, id) or redis.call('ZSCORE', DEFERRED, id))",
            "if false",
        ),
    ),
    test_unique.test_job_that_has_kept_steps_is_not_replaced: (
        ("submit", "  if redis.call('HEXISTS', STEPS, id) == 1 then return end\n", ""),
    ),
    test_unique.test_job_that_gets_results_is_not_replaced: (
        ("submit", "if string.sub(old.p or '', 2) == 'i' or", "if"),
        ("submit", "or string.sub(own.p or '', 2) == 'i' then return end", "then return end"),
    ),
    test_unique.test_late_copy_of_a_put_brings_no_older_bytes_back: (
        ("submit", "redis.call('GET', BASE .. 'same:' .. id)", "false"),
        ("submit", "(mode == 'check' or not terms_of(id).x)", "true"),
    ),
    test_unique.test_other_bytes_under_a_known_id_are_refused: (
        ("submit", "if bytes and bytes ~= ARGV[place + 1] and", "if false and"),
        ("submit", "(mode == 'check' or not terms_of(id).x)", "not terms_of(id).x"),
    ),
    test_unique.test_own_id_that_was_not_put_can_be_used_again: (
        ("submit", "if other and mode == 'check' and not is_standing(other) then other = nil end", ""),
    ),
    test_unique.test_known_own_id_is_refused: (
        ("submit", "if over and mode == 'check' then", "if false then"),
    ),
    test_unique.test_job_without_room_stands_for_no_other: (
        (
            "submit",
            "for place = FIRST, FIRST + 3 * taken - 1, 3 do\n  local id, other",
            "for place = FIRST, #ARGV, 3 do\n  local id, other",
        ),
    ),
    test_unique.test_job_that_needs_no_room_is_accepted_in_a_full_queue: (
        (
            "shared/room",
            "    if not known[ARGV[place]] then\n      if free",
            "    if true then\n      if free",
        ),
    ),
    test_unique.test_shut_queue_accepts_only_jobs_that_others_stand_for: (
        ("submit", "if meta[3] and (known_count < count or count == 0) then", "if meta[3] then"),
    ),
    test_after.test_follower_is_deferred_and_noted: (
        ("shared/after", "redis.call('PEXPIRE', BASE .. 'links:' .. id, LINKS_KEEP)", ""),
        ("shared/after", "redis.call('SADD', FOLLOWED, job)", ""),
    ),
    test_after.test_end_of_the_job_before_lets_it_go_on: (
        ("shared/after", "  redis.call('ZREM', DEFERRED, id)\n", ""),
        ("shared/after", "redis.call('SREM', FOLLOWED, id)", "redis.call('SISMEMBER', FOLLOWED, id)"),
        ("shared/after", "redis.call('LPOP', ENDED)\n", "do break end\n"),
        ("shared/traces", "if redis.call('EXISTS', FOLLOWED) == 1 then note_ended(ids) end", ""),
    ),
    test_after.test_job_waits_for_all_before_it: (
        (
            "shared/after",
            "if redis.call('EXISTS', BASE .. 'after:' .. id, BASE .. 'before:' .. id) > 0 then return end",
            "",
        ),
    ),
    test_after.test_policy_decides_whether_it_goes_on_or_is_cancelled: (
        ("shared/after", "if not fits(string.sub(terms.p or 'd', 1, 1), state) then", "if false then"),
    ),
    test_after.test_cancellation_goes_down_and_wakes_who_waits: (
        (
            "shared/after",
            "if ended and tell_followers() > 0 then make_room(tonumber(redis.call('HGET', META, 'maxsize')) or 0) end",
            "if ended then tell_followers() end",
        ),
    ),
    test_after.test_dead_job_has_ended_even_if_its_outcome_has_expired: (
        ("shared/after", " or redis.call('HGET', REASONS, id)", ""),
    ),
    test_after.test_unknown_job_before_is_refused_without_effect: (
        ("submit", "if not there[before] then return {'GONE', job} end", ""),
    ),
    test_after.test_unknown_job_before_counts_as_ended_in_a_resent_put: (
        ("submit", "or mode == 'again' or", "or"),
        ("shared/after", " or redis.call('HEXISTS', JOBS, job) == 0 and GONE", ""),
    ),
    test_after.test_delay_begins_once_those_before_have_ended: (
        ("submit", "if has_delay then own.d = delay end", ""),
    ),
    test_after.test_cancelled_follower_leaves_nothing: (
        ("shared/terms", "redis.call('UNLINK', BASE .. 'after:' .. id, BASE", "redis.call('UNLINK', BASE"),
        ("purge", "index == 'ready' and READY or DEFERRED", "READY"),
        ("cancel", "\n  or redis.call('ZSCORE', DEFERRED, id)", ""),
    ),
    test_after.test_end_of_an_unrelated_job_changes_nothing: (
        ("shared/after", "if redis.call('SREM', BASE .. 'after:' .. id, from) == 0 then return end", ""),
    ),
    test_after.test_inputs_are_kept_until_the_job_is_over: (
        ("discard", "drop_inputs({id})", ""),
        ("shared/terms", "redis.call('UNLINK', inputs)", ""),
        ("shared/after", "if string.sub(terms.p or 'd', 2) == 'i' then", "if false then"),
    ),
    test_after.test_dropped_dead_job_leaves_no_inputs: (("shared/settle", "drop_inputs({oldest})", ""),),
    test_after.test_many_followers_go_on_in_slices: (
        ("shared/after", "MAX_TOLD, MAX_NOTED = 64,", "MAX_TOLD, MAX_NOTED = 999,"),
        ("shared/traces", "redis.call('PERSIST', outcome)", ""),
        ("shared/after", "redis.call('PEXPIRE', BASE .. 'outcome:' .. id, keep_ms)", ""),
        (
            "shared/recover",
            "redis.call('EXISTS', DELAYED, TURNS, ENDED, UNLINKED) == 0",
            "redis.call('EXISTS', DELAYED, TURNS) == 0",
        ),
        ("claim", "if redis.call('EXISTS', ENDED, UNLINKED) > 0 then soonest = 1 end", ""),
    ),
    test_after.test_stream_of_a_followed_job_expires_with_its_outcome: (
        (
            "shared/traces",
            "if redis.call('EXISTS', STREAMS) == 1 then end_streams(ids) end -- they expire with the outcomes\n",
            "if redis.call('EXISTS', FOLLOWED) == 1 then note_ended(ids) end\n  end_streams(ids)\n",
        ),
    ),
    test_after.test_followers_of_a_revived_job_wait_for_its_next_end: (
        ("shared/after", "local is_live = not outcome and", "local is_live = false and"),
        ("shared/after", "state == 'done' and 1 or 2", "1"),
    ),
    test_after.test_many_jobs_before_are_noted_in_slices: (
        ("shared/recover", "if redis.call('EXISTS', UNLINKED) == 1 then note_more() end", ""),
    ),
    test_after.test_job_waits_for_those_before_it_that_are_not_noted_yet: (
        (
            "shared/after",
            "redis.call('EXISTS', BASE .. 'after:' .. id, BASE .. 'before:' .. id) > 0",
            "redis.call('EXISTS', BASE .. 'after:' .. id) > 0",
        ),
    ),
    test_after.test_cancelled_job_leaves_no_jobs_before_it_to_be_noted: (
        ("shared/terms", ", BASE .. 'before:' .. id)", ")"),
    ),
    test_after.test_jobs_with_many_before_them_share_a_slice: (("submit", "noted = noted + #earlier", ""),),
    test_after.test_job_after_one_of_another_queue_leaves_a_message: (
        ("claim", "if redis.call('EXISTS', OUTBOX) == 1 then", "if false then"),
    ),
    test_after.test_end_of_a_job_leaves_a_message_for_a_follower_elsewhere: (
        ("follow", "redis.call('SADD', FOLLOWED, id)", ""),
        ("shared/after", "if wants == 'i' or state", "if state"),
    ),
    test_after.test_followers_elsewhere_get_one_message_for_each_slice: (
        ("shared/after", "elsewhere[to] and elsewhere[to] .. ',' .. other or other", "other"),
    ),
    test_after.test_large_outcome_is_kept_once_for_all_followers: (
        ("shared/terms", "local names = #outcome > SHARED_FROM and", "local names = false and"),
        ("shared/terms", "  drop_inputs(after)\n", ""),
        ("shared/terms", "if terms.p then\n", "if false then\n"),
        ("shared/terms", "'jobs', -count) <= 0 then", "'jobs', -count) < 0 then"),
        ("shared/terms", "names[from] = (names[from] or 0) + 1 end", "names[from] = 1 end"),
        ("shared/terms", "redis.call('UNLINK', BASE .. 'shared:' .. from)", ""),
    ),
    test_after.test_follower_cancelled_after_it_got_an_input_leaves_none: (
        ("shared/terms", "      shared[from] = nil\n", ""),
    ),
    test_after.test_new_outcome_is_not_taken_for_the_shared_old_one: (
        ("shared/terms", "if shared[from] == outcome then", "if true then"),
        ("shared/terms", "shared[from] = shared[from] or redis.call('HGET', key, 'outcome')", ""),
    ),
    test_after.test_job_shares_at_most_64_inputs: (
        ("shared/terms", "string.gsub(names, ',', '')) < MAX_SHARED", "string.gsub(names, ',', '')) < 999"),
    ),
    test_after.test_hooks_share_a_large_outcome: (("shared/terms", "  own.p = 'ei'\n", ""),),
    test_after.test_follower_that_wants_the_outcome_now_gets_it_once: (
        ("follow", "each_part('SREM', BASE .. 'followers:' .. id, former)", ""),
    ),
    test_after.test_follow_of_an_ended_or_unknown_job_says_so: (
        ("follow", "if not outcome and redis.call('HEXISTS', JOBS, id) == 0 then", "if false then"),
        ("follow", "if outcome then return {'OVER', wanted(outcome, wants)} end", ""),
    ),
    test_after.test_late_follow_of_a_forgotten_job_cancels_no_follower: (
        ("follow", "was_noted == 1 and 'OK' or 'GONE'", "'GONE'"),
    ),
    test_after.test_end_elsewhere_lets_a_job_go_on: (
        ("go_on", "go_on(ARGV[place], ARGV[1], state_of(ARGV[2]), ARGV[2])", ""),
        ("shared/after", "enter(id, text, place) end\n  ring(1)", "enter(id, text, place) end"),
    ),
    test_after.test_queue_with_messages_is_not_forgotten: (
        ("forget", "redis.call('EXISTS', ENDED, OUTBOX) > 0 or", ""),
    ),
    test_after.test_queue_with_untold_followers_elsewhere_is_not_forgotten: (
        ("forget", "redis.call('EXISTS', ENDED, OUTBOX)", "redis.call('EXISTS', OUTBOX)"),
    ),
    test_after.test_end_of_a_job_puts_its_hooks: (
        ("shared/terms", "if terms.h and outcomes[place] then", "if false then"),
        ("shared/terms", "if fits(policy, state) and queue == OWN then", "if queue == OWN then"),
    ),
    test_after.test_each_end_of_a_revived_job_has_its_own_hook: (
        ("shared/terms", "hook = hook .. '.' .. sequence", "hook = hook .. '.1'"),
    ),
    test_after.test_hook_has_its_own_priority_limit_and_delay: (
        ("shared/terms", "accept({id, bytes}, 1, 2, priority,", "accept({id, bytes}, 1, 2, 0,"),
        ("shared/terms", "if own.d then wait_until_due", "if false then wait_until_due"),
    ),
    test_after.test_hook_of_another_queue_is_a_message: (
        ("shared/terms", "if fits(policy, state) and queue == OWN", "if fits(policy, state)"),
        ("shared/terms", "cmsgpack.pack({bytes, priority, own, outcome}))\n      ring(1)", "outcome)"),
    ),
    test_after.test_hook_of_a_job_elsewhere_is_put_once: (
        (
            "hook",
            "redis.call('HEXISTS', JOBS, id) + redis.call('EXISTS', BASE .. 'outcome:' .. id) == 0",
            "true",
        ),
        ("shared/terms", "enter(id, text, place) end\n  ring(1)", "enter(id, text, place) end"),
    ),
    test_after.test_finished_hook_is_not_put_again_by_a_late_message: (
        ("hook", " + redis.call('EXISTS', BASE .. 'outcome:' .. id)", ""),
    ),
    test_rests.test_rest_of_the_queue_is_counted_until_it_ends: (
        ("end_rest", "redis.call('HDEL', META, 'rest')", ""),
    ),
}
