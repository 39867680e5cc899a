#!lua flags=allow-oom
-- report: set the report of a consumer, even if the server is full, since an unseen consumer cannot be stopped.
-- KEYS  1 the consumer's report; 2 the list of consumers
-- ARGV  1 report; 2 how long it is kept, s; 3 time, for sorting; 4 consumer
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
redis.call('ZADD', KEYS[2], ARGV[3], ARGV[4])
return 'OK'
