-- Counts what a request used, once, and gives back what it did not. ARGV[2]: the settlement, JSON.
-- Returns { 1 counted, (number of a watch from 1, spent)... | 2 counted before | 3 gap, last offset counted }.
local s = cjson.decode(ARGV[2])

if s.source and s.source ~= cjson.null then
  local partition = int(s.source.partition)
  local at = tonumber(call('HGET', P .. 'offsets', partition) or '-1')
  if s.source.offset <= at then return { 2 } end
  if s.source.after > at then return { 3, at } end
  call('HSET', P .. 'offsets', partition, int(s.source.offset))
end

local reply = { 1 }
if #s.adds > 0 then
  if is_settled(s.id) then return { 2 } end
  call('SET', P .. 'd:' .. s.id, int(now + SETTLED_MS), 'PX', int(SETTLED_MS))
end

if s.nano > 0 then
  local nano = int(s.nano)
  for _, add in ipairs(s.adds) do
    if add.drop_ms > now then
      local key = P .. 's:' .. add.counter
      call('INCRBY', key, nano)
      keep(key, add.drop_ms - now)
    end
  end
  for i, watch in ipairs(s.watches) do
    local spent = tonumber(call('GET', P .. 's:' .. watch.counter) or '0')
    if spent >= watch.at_nano and watch.drop_ms > now then
      if call('SET', P .. 'a:' .. watch.mark, '1', 'NX', 'PX', int(watch.drop_ms - now)) then
        reply[#reply + 1] = i
        reply[#reply + 1] = spent
      end
    end
  end
end

local function actual(m)
  if m.unit == 'requests' then return m.amount end
  if m.unit == 'tokens' then return s.tokens end
  return math.max(s.tokens - s.cached_tokens, 0)
end

local plan, at = close(s.id)
if plan then
  for _, m in ipairs(plan.rates) do
    local used = actual(m)
    give_back(m.meter, bucket(at, m.window_ms), m.amount - used)
    -- What was not foreseen is known only now; where the request began may no longer count.
    add(m.meter, m.window_ms, bucket(now, m.window_ms), used - m.amount)
  end
elseif call('EXISTS', P .. 'ready') == 0 then
  for _, m in ipairs(s.rates) do
    local accepted, first, last = bucket(s.accepted_ms, m.window_ms), counted(m.window_ms)
    if accepted >= first and accepted <= last then add(m.meter, m.window_ms, accepted, actual(m)) end
  end
end
return reply
