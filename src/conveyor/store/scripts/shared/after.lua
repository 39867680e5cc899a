-- Jobs that come after others, their followers. A follower is deferred. The jobs that it waits for are in `after:<id>`,
-- each as queue and id; beyond MAX_NOTED those not noted there yet are in `before:<id>`, and it is in `unlinked`. The
-- job it comes after has it in `followers:<id>`, and is in `followed`. Its end reaches a few followers at once, the
-- others by later scripts: those of this queue directly, those of another one by a message in `outbox`, which consumers
-- carry over, one for all followers of the slice in that queue.
-- A policy says how the jobs before must have ended: d done, f failed, or e ended in any way; otherwise the follower is
-- cancelled. The letter i behind it: the follower gets their outcomes, its inputs.
local MAX_TOLD, MAX_NOTED = 64, 64
local GONE = cmsgpack.pack({'gone', false, 0}) -- the outcome of a job that is unknown

local function link(id, texts) -- for people: < and a job before, or > and a follower
  local LINKS_KEEP = 604800000 -- ms
  each_part('SADD', BASE .. 'links:' .. id, texts)
  redis.call('PEXPIRE', BASE .. 'links:' .. id, LINKS_KEEP)
end

local function outcome_of(id) -- also of a dead job, whose outcome may have expired
  return redis.call('GET', BASE .. 'outcome:' .. id) or redis.call('HGET', REASONS, id)
end

-- The whole outcome, if that is wanted, or only how the job has ended, and the reason if it was cancelled.
local function wanted(outcome, wants)
  local state = state_of(outcome)
  if wants == 'i' or state == 'cancelled' and #outcome < 1024 then return outcome end
  return cmsgpack.pack({state, false, 0})
end

-- Why a follower is cancelled, with the first job that ended so: the one of which the others are followers, too.
local function why_cancelled(from, state, outcome)
  local why = 'the job ' .. string.match(from, ' (.+)$') .. ', which it comes after, ended as ' .. state
  local earlier = state == 'cancelled' and cmsgpack.unpack(outcome)[2]
  if type(earlier) ~= 'string' then return why end
  local id, ended_as = string.match(earlier, '^the job (%S+), which it comes after, ended as (%w+)$')
  local first = id and id .. ' ' .. ended_as or string.match(earlier, ' %(first (.+)%)$')
  return first and why .. ' (first ' .. first .. ')' or why
end

-- A job before has ended; the last one makes its follower ready. `from` is its queue and id.
local function go_on(id, from, state, outcome)
  if redis.call('SREM', BASE .. 'after:' .. id, from) == 0 then return end
  local text = redis.call('HGET', TERMS, id)
  if not text then return end
  local terms = read_terms(text)
  if not fits(string.sub(terms.p or 'd', 1, 1), state) then
    local why = why_cancelled(from, state, outcome)
    settle(id, cmsgpack.pack({'cancelled', why, 0}), CANCELLED_KEEP, 'cancelled', server_time())
    return
  end
  if string.sub(terms.p or 'd', 2) == 'i' then give_input(id, from, outcome) end
  if redis.call('EXISTS', BASE .. 'after:' .. id, BASE .. 'before:' .. id) > 0 then return end
  local place = exact(tonumber(redis.call('ZSCORE', DEFERRED, id)))
  redis.call('ZREM', DEFERRED, id)
  if terms.d then wait_until_due(id, text, place, terms.d) else enter(id, text, place) end
  ring(1)
end

-- Note that deferred jobs come after others: of each its id, these others as queue and id, and its policy. Others that
-- have ended already let it go on. Jobs after the same one are noted together, which halves the work.
local function note_before(jobs)
  local followers, over = {}, {}
  for _, one in ipairs(jobs) do
    local id, earlier, wants, links = one[1], one[2], string.sub(one[3], 2), {}
    for place, before in ipairs(earlier) do
      local key = before .. ' ' .. wants
      links[place] = '< ' .. before
      followers[key] = followers[key] or {}
      table.insert(followers[key], id)
    end
    each_part('SADD', BASE .. 'after:' .. id, earlier)
    link(id, links)
  end
  for key, ids in pairs(followers) do
    local queue, job, wants = string.match(key, '^(%S+) (%S+) (%S*)$')
    if queue ~= OWN then
      send('follow', queue, job, OWN .. ' ' .. table.concat(ids, ','), wants)
    else
      local outcome, links, texts = outcome_of(job) or redis.call('HEXISTS', JOBS, job) == 0 and GONE, {}, {}
      for place, id in ipairs(ids) do
        links[place] = '> ' .. OWN .. ' ' .. id
        texts[place] = OWN .. ' ' .. id .. ' ' .. wants
      end
      link(job, links)
      if outcome then
        over[queue .. ' ' .. job] = outcome
      else
        each_part('SADD', BASE .. 'followers:' .. job, texts)
        redis.call('SADD', FOLLOWED, job)
      end
    end
  end
  for _, one in ipairs(jobs) do
    for _, before in ipairs(one[2]) do
      local outcome = over[before]
      if outcome then go_on(one[1], before, state_of(outcome), outcome) end
    end
  end
end

local function note_more() -- a slice of the jobs before that are not noted yet
  local noted, jobs = 0, {}
  while noted < MAX_NOTED do
    local id = redis.call('LINDEX', UNLINKED, 0)
    if not id then break end
    local part, text = redis.call('LPOP', BASE .. 'before:' .. id), redis.call('HGET', TERMS, id)
    if redis.call('EXISTS', BASE .. 'before:' .. id) == 0 then redis.call('LPOP', UNLINKED) end
    if part and text then
      local earlier = {}
      for before in string.gmatch(part, '[^,]+') do earlier[#earlier + 1] = before end
      noted = noted + #earlier
      jobs[#jobs + 1] = {id, earlier, read_terms(text).p}
    else -- over
      noted = noted + 1
    end
  end
  note_before(jobs)
end

local function tell_followers() -- a slice of them; returns 0 if there were none
  local told = 0
  while told < MAX_TOLD do
    local id, keep_ms = string.match(redis.call('LINDEX', ENDED, 0) or '', '^(%S+) (%d+)$')
    if not id then break end
    local outcome, list = outcome_of(id), BASE .. 'followers:' .. id
    local is_live = not outcome and redis.call('HEXISTS', JOBS, id) == 1 -- revived: they wait for its next end
    local state, from, elsewhere = state_of(outcome or GONE), OWN .. ' ' .. id, {}
    local work = state == 'done' and 1 or 2 -- otherwise most are cancelled, which takes twice as long
    local found = is_live and {} or redis.call('SPOP', list, math.ceil((MAX_TOLD - told) / work))
    told = told + math.max(1, work * #found)
    for _, follower in ipairs(found) do
      local queue, other, wants = string.match(follower, '^(%S+) (%S+) ?(%S*)$')
      if queue == OWN then
        go_on(other, from, state, outcome or GONE)
      else
        local to = queue .. ' ' .. wants
        elsewhere[to] = elsewhere[to] and elsewhere[to] .. ',' .. other or other
      end
    end
    for to, ids in pairs(elsewhere) do
      local queue, wants = string.match(to, '^(%S+) (%S*)$')
      send('go_on', queue, ids, from, wanted(outcome or GONE, wants))
      ring(1)
    end
    if is_live or redis.call('EXISTS', list) == 0 then
      redis.call('LPOP', ENDED)
      if not is_live then redis.call('SREM', FOLLOWED, id) end
      redis.call('PEXPIRE', BASE .. 'outcome:' .. id, keep_ms)
    end
  end
  if redis.call('EXISTS', ENDED) == 1 then ring(1) end -- an idle consumer goes on
  return told
end

-- At the end of each script that may have ended jobs or freed slots.
local function conclude()
  if ended and tell_followers() > 0 then make_room(tonumber(redis.call('HGET', META, 'maxsize')) or 0) end
  admit_next()
  wake_joiners()
end
