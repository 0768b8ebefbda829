-- Asks lb daemon (docs/DAEMON.md) where a client goes, and sets for haproxy.cfg
--   txn.arm         "master" or "canary"; "master" where the daemon cannot be asked
--   txn.assignment  what the client's cookie is to hold, where that is new

local address = "/run/lb-daemon/web.sock" -- with chroot, below that directory
local timeout = 0.05 -- seconds without an answer

local function ask(held)
    local daemon = core.tcp()
    daemon:settimeout(timeout)
    local assignment, arm
    if daemon:connect(address) and daemon:send(held .. "\n") then
        assignment = daemon:receive("*l")
        arm = assignment and daemon:receive("*l")
    end
    daemon:close()
    return assignment, arm
end

core.register_action("canary", { "http-req" }, function(txn)
    -- What cannot be an assignment is not sent: the client then gets another.
    local held = txn.sf:req_cook("canary")
    if #held > 32 or held:find("[^%d.eE+-]") then
        held = ""
    end
    local ok, assignment, arm = pcall(ask, held)
    if not ok or not arm then
        txn:set_var("txn.arm", "master")
        txn:Warning("canary: master, because lb daemon cannot be asked")
        return
    end
    txn:set_var("txn.arm", arm)
    if assignment ~= held then
        txn:set_var("txn.assignment", assignment)
    end
end)
