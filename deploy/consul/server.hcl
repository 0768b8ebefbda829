# A server of the demo cluster. Join addresses stand in docker-compose.yml.
data_dir             = "/consul/data"
disable_update_check = true
leave_on_terminate   = false
performance { raft_multiplier = 1 }
log_level = "warn"
# A killed server may come back with another address; its name is its own.
skip_leave_on_interrupt = true
