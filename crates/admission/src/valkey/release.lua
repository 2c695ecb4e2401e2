-- Gives everything back: the request was not published after all. ARGV[2]: the reservation's id.
local plan, at = close(ARGV[2])
if plan then
  for _, m in ipairs(plan.rates) do give_back(m.meter, bucket(at, m.window_ms), m.amount) end
end
return { 1 }
