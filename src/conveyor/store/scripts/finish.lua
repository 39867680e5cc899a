#!lua flags=allow-oom
-- finish: leased -> over, with the outcome kept and pushed to those who wait; a batch under one token.
-- use: wake, deliver
-- ARGV  1 token; 2 counter of the ledger: finished or cancelled
--       3.. id, outcome, keep ms, note for the history (empty: none) of each job
-- reply OK, ids that this token does not hold …
-- Atomic because a result and the end of its lease belong together.
local token, counter = ARGV[1], ARGV[2]
local FIRST = 3
local asked = {}
for place = FIRST, #ARGV, 4 do asked[#asked + 1] = ARGV[place] end
local leases = redis.call('HMGET', LEASES, unpack(asked))
local now = server_time()
local reply, ids, outcomes, letters = {'OK'}, {}, {}, {}
local prefix = token .. ' '
local length, count, place = #prefix, 0, FIRST
for number = 1, #asked do
  local id, lease, outcome = asked[number], leases[number], ARGV[place + 1]
  if lease and string.sub(lease, 1, length) == prefix then
    count = count + 1
    ids[count], outcomes[count] = id, outcome
    deliver(letters, id, outcome, tonumber(ARGV[place + 2]), now)
    if ARGV[place + 3] ~= '' then remember('end', ARGV[place + 3]) end
  elseif redis.call('GET', BASE .. 'outcome:' .. id) ~= outcome then
    reply[#reply + 1] = id -- not ours to settle, unless this outcome is kept: then the command was sent twice
  end
  place = place + 4
end
if #ids == 0 then return reply end
each_part('ZREM', LEASED, ids)
each_part('HDEL', LEASES, ids)
each_part('HDEL', JOBS, ids)
if redis.call('EXISTS', TRIES) == 1 then each_part('HDEL', TRIES, ids) end
redis.call('HINCRBY', META, counter, #ids)
if not has_traces() then -- the usual case
  send_letters(letters)
  wake_joiners()
  return reply
end
-- use: due, accept, terms, traces, settle, after
clear_traces(letters, ids, outcomes)
send_letters(letters)
conclude()
return reply
