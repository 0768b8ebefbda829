# The client agent of the demo cluster: API and UI for everything beside it.
data_dir             = "/consul/data"
disable_update_check = true
client_addr          = "0.0.0.0"
ui_config { enabled = true }
performance { raft_multiplier = 1 }
log_level = "warn"
