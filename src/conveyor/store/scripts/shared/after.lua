-- Jobs that come after others, their followers. A follower is deferred. The jobs that it waits for are in `after:<id>`,
-- each as queue and id. The job it comes after has it in `followers:<id>`, and is in `followed`. Its end reaches a few
-- followers at once, the others by later scripts: those of this queue directly, those of another one by a message in
-- `outbox`, which consumers carry over.
-- A policy says how the jobs before must have ended: d done, f failed, or e ended in any way; otherwise the follower is
-- cancelled. The letter i behind it: the follower gets their outcomes, its inputs.
local MAX_TOLD = 64
local LINKS_KEEP = 604800000 -- ms

local function link(id, text) -- for people: < and a job before, or > and a follower
  redis.call('SADD', BASE .. 'links:' .. id, text)
  redis.call('PEXPIRE', BASE .. 'links:' .. id, LINKS_KEEP)
end

-- A job before has ended; the last one makes its follower ready. `from` is its queue and id.
local function go_on(id, from, state, outcome)
  if redis.call('SREM', BASE .. 'after:' .. id, from) == 0 then return end
  local text = redis.call('HGET', TERMS, id)
  if not text then return end
  local terms = read_terms(text)
  if not fits(string.sub(terms.p or 'd', 1, 1), state) then
    local why = 'the job ' .. string.match(from, ' (.+)$') .. ', which it comes after, ended as ' .. state
    settle(id, cmsgpack.pack({'cancelled', why, 0}), CANCELLED_KEEP, 'cancelled', server_time())
    return
  end
  if string.sub(terms.p or 'd', 2) == 'i' then redis.call('HSET', BASE .. 'inputs:' .. id, from, outcome) end
  if redis.call('EXISTS', BASE .. 'after:' .. id) == 1 then return end
  local place = exact(tonumber(redis.call('ZSCORE', DEFERRED, id)))
  redis.call('ZREM', DEFERRED, id)
  if terms.d then wait_until_due(id, text, place, terms.d) else enter(id, text, place) end
  ring(1)
end

local function tell_followers() -- a slice of them; returns how many
  local told = 0
  while told < MAX_TOLD do
    local id = redis.call('LINDEX', ENDED, 0)
    if not id then break end
    local outcome = redis.call('GET', BASE .. 'outcome:' .. id) or cmsgpack.pack({'gone', false, 0})
    local state, from, list = state_of(outcome), OWN .. ' ' .. id, BASE .. 'followers:' .. id
    for _, follower in ipairs(redis.call('SPOP', list, MAX_TOLD - told)) do
      told = told + 1
      local queue, other, wants = string.match(follower, '^(%S+) (%S+) ?(%S*)$')
      if queue == OWN then
        go_on(other, from, state, outcome)
      else
        redis.call('XADD', OUTBOX, '*', 'verb', 'go_on', 'queue', queue, 'id', other, 'from', from, 'outcome',
          wants == 'i' and outcome or cmsgpack.pack({state, false, 0}))
        ring(1)
      end
    end
    if redis.call('EXISTS', list) == 1 then
      redis.call('PERSIST', BASE .. 'outcome:' .. id) -- the others need it, whenever that may be
    else
      redis.call('LPOP', ENDED)
      redis.call('SREM', FOLLOWED, id)
      if redis.call('PTTL', BASE .. 'outcome:' .. id) == -1 then
        redis.call('PEXPIRE', BASE .. 'outcome:' .. id, CANCELLED_KEEP)
      end
    end
  end
  return told
end

-- At the end of each script that may have ended jobs or freed slots.
local function conclude()
  if ended then tell_followers() end
  admit_next()
  wake_joiners()
end
