package main

// maxConns is how many client connections may be open with so many file
// descriptors: four fifths of what is left after a reserve for Consul, the admin
// listener and files, so that there is always one to reach an instance with.
// Further connections wait in the backlog. 0 (no limit known) is no limit.
func maxConns(openFiles uint64) int {
	const reserve = 64
	switch {
	case openFiles == 0 || openFiles > 1<<30:
		return 0
	case openFiles <= 2*reserve:
		return int(openFiles / 4)
	}
	return int((openFiles - reserve) * 4 / 5)
}
