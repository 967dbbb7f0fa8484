package child

import (
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAProcessKeepsItsNumberUntilItIsReaped(t *testing.T) {
	cmd := exec.Command("sh", "-c", "exit 3")
	require.NoError(t, cmd.Start())
	require.NoError(t, AwaitExit(cmd.Process.Pid))
	assert.NoError(t, syscall.Kill(cmd.Process.Pid, 0), "it is there still, as a zombie")
	var failed *exec.ExitError
	require.ErrorAs(t, cmd.Wait(), &failed)
	assert.Equal(t, 3, failed.ExitCode(), "and tells its exit code")
}

func TestWhatIsNoChildCannotBeWaitedFor(t *testing.T) {
	assert.ErrorIs(t, AwaitExit(os.Getppid()), syscall.ECHILD)
}
