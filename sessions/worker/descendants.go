package worker

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// killSession ends every process of a worker's Unix session: what the worker started and could not end itself, because it
// was killed. Scripts have process groups of their own, so the worker's group alone would miss them.
func killSession(leader int) {
	// A process that is killed while it forks leaves a child for the next look.
	for range 10 {
		members := sessionMembers(leader)
		if len(members) == 0 {
			return
		}
		for _, pid := range members {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// sessionMembers lists the living processes of a Unix session.
func sessionMembers(leader int) (members []int) {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		// pid (name) state parent group session …; the name may hold anything, parentheses too.
		fields := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:])
		if len(fields) < 4 || string(fields[0]) == "Z" || string(fields[3]) != strconv.Itoa(leader) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file))); err == nil {
			members = append(members, pid)
		}
	}
	return members
}
