-- The scripts run inside Redis and Valkey: Lua 5.1 without files and modules, and with these.
std = "lua51"
max_line_length = 120
read_globals = { "KEYS", "ARGV", "redis", "cjson", "cmsgpack", "struct" }

-- What scripts/shared/*.lua defines at its margin; the loader puts it in front of a script that asks for it.
local shared = io.popen("cat src/conveyor/store/scripts/shared/*.lua")
local text = "\n" .. shared:read("*a")
shared:close()
for _, pattern in ipairs { "\nlocal function ([%w_]+)", "\nlocal ([%w_,%s]+) =", "\nlocal ([%w_, ]+)\ndo" } do
  for names in text:gmatch(pattern) do
    for name in names:gmatch("[%w_]+") do table.insert(read_globals, name) end
  end
end

-- A shared file defines what others use.
files["**/scripts/shared/*.lua"] = { ignore = { "211", "231" } }
