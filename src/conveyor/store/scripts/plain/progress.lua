#!lua
-- progress: keep the latest progress of running jobs; of a job that has ended meanwhile nothing is kept. Refused by a
-- server that is out of memory (no allow-oom): a job goes on without it.
-- KEYS  1 progress; 2 leases
-- ARGV  1.. id, progress
for place = 1, #ARGV, 2 do
  if redis.call('HEXISTS', KEYS[2], ARGV[place]) == 1 then
    redis.call('HSET', KEYS[1], ARGV[place], ARGV[place + 1])
  end
end
return 'OK'
