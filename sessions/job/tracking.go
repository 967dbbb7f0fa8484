package job

// The forms in which a run can be tracked.
const (
	TrackJSONL       = "jsonl"
	TrackTensorBoard = "tensorboard"
	TrackWandb       = "wandb" // an offline run, for "wandb sync"
)

// Tracking asks for the run's numbers and pictures in the forms of other programs.
type Tracking struct {
	// To lists forms, each once.
	To []string `json:"to"`
	// Project and Run name the run there.
	Project string `json:"project"`
	Run     string `json:"run"`
}
