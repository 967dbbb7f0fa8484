package job

// Where captions come from.
const (
	CaptionsTextFile = "textfile" // a file beside the picture with the same stem
	CaptionsFilename = "filename" // the picture's stem, with underscores as spaces
	CaptionsFixed    = "fixed"    // DefaultCaption for every picture
	CaptionsTable    = "table"    // CaptionColumns of Table
)

// How Resolution is meant.
const (
	ResolutionPixel     = "pixel"      // length of the shorter edge, pixels
	ResolutionArea      = "area"       // square root of the area, pixels
	ResolutionMegapixel = "megapixels" // area in millions of pixels
)

// How the aspect ratio of a cut is chosen from CropAspects.
const (
	AspectClosest = "closest" // the one closest to the picture's own
	AspectRandom  = "random"  // any, drawn once for each picture
)

// How the dataset of a micro-batch is chosen.
const (
	MixShare   = "share"   // with a chance of Probability times the dataset's share of the epoch's micro-batches
	MixUniform = "uniform" // with a chance of Probability alone
)

// What separates the tags of a caption.
const (
	SplitComma  = "comma"
	SplitSpace  = "space"
	SplitPeriod = "period"
)

// CaptionShuffle makes captions with tags in other orders of each caption.
type CaptionShuffle struct {
	// Count is the number of orders drawn for each caption, at least 1; those that come twice count once.
	Count int    `json:"count"`
	Seed  uint64 `json:"seed"`
	// SplitOn is one of the Split constants.
	SplitOn string `json:"split_on"`
	// Keep is the number of first tags that stay where they are.
	Keep int `json:"position_start,omitempty"`
	// WithOriginal keeps the caption as it is among its variants.
	WithOriginal bool `json:"include_original,omitempty"`
}

// Table is a Parquet file with a row for each picture.
type Table struct {
	Path string `json:"path"`
	// FilenameColumn holds the paths of the pictures below the folder, or their names without folders; as texts, or as
	// whole numbers.
	FilenameColumn string `json:"filename_column"`
	// WithExtension tells whether FilenameColumn holds extensions.
	WithExtension bool `json:"identifier_includes_extension,omitempty"`
	// CaptionColumns hold texts or lists of texts, all of which are captions of the picture; FallbackColumn, if not empty,
	// is read where they are empty.
	CaptionColumns []string `json:"caption_column,omitempty"`
	FallbackColumn string   `json:"fallback_caption_column,omitempty"`
}

// Dataset is one folder of pictures and how they become samples.
type Dataset struct {
	// ID names the dataset in messages; unique within a job.
	ID string `json:"id"`
	// Folder is searched recursively for pictures; it is never written to. A JSON file instead maps paths of pictures to
	// captions (strings, or objects with a "caption"); relative paths start at the file's folder.
	Folder string `json:"folder"`
	// Captions is one of the Captions constants; empty: CaptionsTextFile.
	Captions string `json:"captions,omitempty"`
	// Table is a Parquet file that lists the pictures; those without a row are left out. nil: all are used.
	Table *Table `json:"table,omitempty"`
	// CaptionExtension of caption files, with the dot; empty: ".txt".
	CaptionExtension string `json:"caption_extension,omitempty"`
	// DefaultCaption is used where the caption is missing or empty.
	DefaultCaption string `json:"default_caption,omitempty"`
	// SplitCaptions makes every line of a caption file a caption of its own, of which one is drawn at each use.
	SplitCaptions bool `json:"split_captions,omitempty"`
	// CaptionFilters are applied to captions in their order: "s/pattern/replacement/" replaces what the regular expression
	// matches, anything else is a text to remove.
	CaptionFilters []string `json:"caption_filters,omitempty"`
	// Shuffle adds captions with tags in other orders, one of which is drawn at each use; nil: none. It comes before
	// CaptionFilters.
	Shuffle *CaptionShuffle `json:"caption_shuffle,omitempty"`
	// CaptionPrefix is put in front of captions, with a space.
	CaptionPrefix string `json:"caption_prefix,omitempty"`
	// DropUncaptioned leaves out pictures without a caption.
	DropUncaptioned bool `json:"drop_uncaptioned,omitempty"`
	// RequireCaptions makes a picture without a caption a bad image; otherwise it is trained with the empty caption.
	RequireCaptions bool `json:"require_captions,omitempty"`
	// Trigger replaces [trigger] and [name] in captions and is put in front of captions that lack it.
	Trigger string `json:"trigger,omitempty"`
	// Resolution in the unit of ResolutionType.
	Resolution float64 `json:"resolution"`
	// ResolutionType is one of the Resolution constants; empty: ResolutionPixel.
	ResolutionType string `json:"resolution_type,omitempty"`
	// MinimumSize leaves out smaller pictures; MaximumSize is the size above which a picture is reduced to TargetSize
	// before the cut, so that the cut is not a small part of it. All in the unit of Resolution; 0: none.
	MinimumSize float64 `json:"minimum_size,omitempty"`
	MaximumSize float64 `json:"maximum_size,omitempty"`
	TargetSize  float64 `json:"target_size,omitempty"`
	// MinimumAspect and MaximumAspect leave out pictures whose width/height is outside; 0: none.
	MinimumAspect float64 `json:"minimum_aspect,omitempty"`
	MaximumAspect float64 `json:"maximum_aspect,omitempty"`
	// MaxUpscale refuses pictures that would have to be enlarged by more than this factor; 0: any.
	MaxUpscale float64 `json:"max_upscale,omitempty"`
	// Square crops every picture to a square; otherwise pictures keep their aspect ratio in buckets.
	Square bool `json:"square,omitempty"`
	// CropAspects are the aspect ratios (width/height) of the cuts, one of which CropAspect chooses for each picture; empty:
	// each picture keeps its own. Not together with Square.
	CropAspects []float64 `json:"crop_aspects,omitempty"`
	// CropAspect is one of the Aspect constants.
	CropAspect string `json:"crop_aspect,omitempty"`
	// BucketStep is the multiple of pixels to which bucket sizes are rounded; 0: the family's default.
	BucketStep int `json:"bucket_step,omitempty"`
	// AspectRounding is the number of decimals to which aspect ratios are rounded for bucketing; 0: the default.
	AspectRounding int `json:"aspect_rounding,omitempty"`
	// BucketStyle names the rule that turns a picture's size into a bucket: "simpletuner" or "aitoolkit"; empty: "simpletuner".
	BucketStyle string `json:"bucket_style,omitempty"`
	// Crop is "center", "corner" or "random"; empty: "center".
	Crop string `json:"crop,omitempty"`
	// NewCrops draws random crops anew in every epoch; otherwise a picture keeps its first one.
	NewCrops bool `json:"new_crops,omitempty"`
	// MaxSamples is the largest number of pictures used, drawn evenly from those that pass the filters; 0: all.
	MaxSamples int `json:"max_samples,omitempty"`
	// BatchSize is the number of samples of one micro-batch of the dataset; 0: that of the job. Datasets of different sizes
	// need Job.Mixing.
	BatchSize int `json:"batch_size,omitempty"`
	// Probability weighs the dataset against others when Job.Mixing is set; 0: 1.
	Probability float64 `json:"probability,omitempty"`
	// StartEpoch to EndEpoch, and StartStep to EndStep, are the epochs and optimizer steps, from 1, that the dataset takes part
	// in; it does where both allow it. 0: from the first, to the last.
	StartEpoch int64 `json:"start_epoch,omitempty"`
	EndEpoch   int64 `json:"end_epoch,omitempty"`
	StartStep  int64 `json:"start_step,omitempty"`
	EndStep    int64 `json:"end_step,omitempty"`
	// Repeats is how often each picture counts per epoch, at least 1.
	Repeats int `json:"repeats"`
	// FlipX and FlipY add mirrored copies of every picture.
	FlipX bool `json:"flip_x,omitempty"`
	FlipY bool `json:"flip_y,omitempty"`
}
