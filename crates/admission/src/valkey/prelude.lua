-- What every script begins with. KEYS[1]: prefix of all keys (one hash slot). ARGV[1]: now in ms, 0 for the server's own clock, so
-- that replicas whose clocks differ share one. Keys, after the prefix:
--   w:METER    hash    bucket -> taken                        expires with its window
--   c:METER    zset    reservation -> expiry                  one place each
--   z:DIM      zset    reservation=nano -> expiry             money reserved
--   h:DIM      string  sum of z:DIM
--   s:COUNTER  string  nano-dollars spent                     expires after its period
--   a:MARK     string  a threshold that was told              expires after its period
--   r:ID       hash    at, plan: an open reservation          expires with it
--   d:ID       string  a settled request: until when          expires after an hour
--   offsets    hash    partition of usage -> last offset counted
--   ready, lease
local P = KEYS[1]
local BUCKETS, SETTLED_MS, SLACK_MS = 50, 3600000, 60000
local call, floor = redis.call, math.floor
local now = tonumber(ARGV[1])
if now == 0 then
  local t = call('TIME')
  now = tonumber(t[1]) * 1000 + floor(tonumber(t[2]) / 1000)
end

-- Lua's own conversion would round or write an exponent.
local function int(n) return string.format('%.0f', n) end

local function width(window) return math.max(floor(window / BUCKETS), 1) end

local function bucket(at, window) return floor(at / width(window)) end

-- First and last bucket that count.
local function counted(window) return bucket(now - window, window), bucket(now, window) + BUCKETS end

local function add(meter, window, at, amount)
  if amount <= 0 then return end
  local key = P .. 'w:' .. meter
  call('HINCRBY', key, int(at), int(amount))
  call('PEXPIRE', key, int(3 * window + SLACK_MS))
end

local function give_back(meter, at, amount)
  if amount <= 0 then return end
  local key = P .. 'w:' .. meter
  local left = tonumber(call('HGET', key, int(at)) or '0') - amount
  if left > 0 then call('HSET', key, int(at), int(left)) else call('HDEL', key, int(at)) end
end

-- Lets key live at least so long.
local function keep(key, ms)
  if call('PTTL', key) < ms then call('PEXPIRE', key, int(ms)) end
end

-- Money reserved in a dimension, without reservations that have expired.
local function reserved(dimension)
  local z, h = P .. 'z:' .. dimension, P .. 'h:' .. dimension
  while true do
    local due = call('ZRANGEBYSCORE', z, '-inf', int(now), 'LIMIT', 0, 100)
    if #due == 0 then break end
    for _, member in ipairs(due) do call('DECRBY', h, string.match(member, '=(%d+)$')) end
    call('ZREM', z, unpack(due))
  end
  if call('EXISTS', z) == 0 then
    call('DEL', h)
    return 0
  end
  return tonumber(call('GET', h) or '0')
end

-- Takes without asking.
local function take(plan, raw, at)
  local id, ttl = plan.id, plan.expires_ms - now + SLACK_MS
  for _, m in ipairs(plan.rates) do add(m.meter, m.window_ms, bucket(at, m.window_ms), m.amount) end
  for _, m in ipairs(plan.holds) do
    local key = P .. 'c:' .. m.meter
    call('ZADD', key, int(plan.expires_ms), id)
    keep(key, ttl)
  end
  if plan.nano > 0 then
    for _, dimension in ipairs(plan.dimensions) do
      local z, h = P .. 'z:' .. dimension, P .. 'h:' .. dimension
      call('ZADD', z, int(plan.expires_ms), id .. '=' .. int(plan.nano))
      call('INCRBY', h, int(plan.nano))
      keep(z, ttl)
      keep(h, ttl)
    end
  end
  local key = P .. 'r:' .. id
  call('HSET', key, 'at', int(at), 'plan', raw)
  call('PEXPIRE', key, int(ttl))
end

-- Removes a reservation with its places and its money; what it was and when it was admitted, unless it had expired.
local function close(id)
  local key = P .. 'r:' .. id
  local record = call('HMGET', key, 'at', 'plan')
  if not record[1] then return nil end
  call('DEL', key)
  local plan = cjson.decode(record[2])
  for _, m in ipairs(plan.holds) do call('ZREM', P .. 'c:' .. m.meter, id) end
  if plan.nano > 0 then
    for _, dimension in ipairs(plan.dimensions) do
      local nano = int(plan.nano)
      if call('ZREM', P .. 'z:' .. dimension, id .. '=' .. nano) == 1 then call('DECRBY', P .. 'h:' .. dimension, nano) end
    end
  end
  if plan.expires_ms <= now then return nil end
  return plan, tonumber(record[1])
end

local function is_settled(id) return tonumber(call('GET', P .. 'd:' .. id) or '0') > now end

local function is_open(id)
  local key = P .. 'r:' .. id
  if call('EXISTS', key) == 0 then return false end
  return cjson.decode(call('HGET', key, 'plan')).expires_ms > now
end
