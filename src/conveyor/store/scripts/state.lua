#!lua flags=no-writes,allow-stale
-- state: where one job is; membership is the state.
-- ARGV  1 id
-- reply ready, position from 0 | deferred, first line of its terms | delayed, ms until due | leased, lease
--       | dead, reason | over, outcome | gone
--       and then the job's bytes, tries and progress, each empty if there are none
local id = ARGV[1]
local answer
local due = redis.call('ZSCORE', DELAYED, id)
local lease = redis.call('HGET', LEASES, id)
if redis.call('ZSCORE', READY, id) then
  answer = {'ready', redis.call('ZRANK', READY, id)}
elseif due then
  local shift = tonumber(redis.call('HGET', META, 'due_shift')) or 0
  answer = {'delayed', math.max(0, tonumber(due) - shift - server_time())}
elseif redis.call('ZSCORE', DEFERRED, id) then
  answer = {'deferred', string.match(redis.call('HGET', TERMS, id) or '', '^[^\n]*')}
elseif lease then
  answer = {'leased', lease}
elseif redis.call('ZSCORE', DEAD, id) then
  answer = {'dead', redis.call('HGET', REASONS, id) or ''}
else
  local outcome = redis.call('GET', BASE .. 'outcome:' .. id)
  answer = outcome and {'over', outcome} or {'gone', ''}
end
for _, key in ipairs({JOBS, TRIES, PROGRESS}) do answer[#answer + 1] = redis.call('HGET', key, id) or '' end
return answer
