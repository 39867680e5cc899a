#!lua flags=allow-oom
-- answer: tell whoever waits what came of an order, and keep the last word of each target with the order. On a full
-- server too. Sent twice, it is told twice and kept once.
-- KEYS  1 list of answers; 2 last word of each target; 3 orders that were answered
-- ARGV  1 answer; 2 how long it is there to be heard, s; 3 target; 4 last word; 5 how long that is kept, s
--       6 targets that are kept at most; 7 order; 8 orders that are kept at most; 9 what keys like 2 begin with
redis.call('RPUSH', KEYS[1], ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[2])
if redis.call('HLEN', KEYS[2]) < tonumber(ARGV[6]) or redis.call('HEXISTS', KEYS[2], ARGV[3]) == 1 then
  redis.call('HSET', KEYS[2], ARGV[3], ARGV[4])
end
redis.call('EXPIRE', KEYS[2], ARGV[5])
redis.call('ZADD', KEYS[3], 'NX', redis.call('TIME')[1], ARGV[7])
local over = redis.call('ZCARD', KEYS[3]) - tonumber(ARGV[8])
if over > 0 then -- by many where more were kept once; a few at a time
  local popped = redis.call('ZPOPMIN', KEYS[3], math.min(over, 10))
  for place = 1, #popped, 2 do redis.call('DEL', ARGV[9] .. popped[place]) end
end
return 'OK'
