-- Ends a rebuild. ARGV[2]: whose. Returns { 1 } if the lease was still held.
if call('GET', P .. 'lease') ~= ARGV[2] then return { 0 } end
call('SET', P .. 'ready', '1')
call('DEL', P .. 'lease')
return { 1 }
