package cli

import "github.com/spf13/pflag"

// ImageOptions say how a node gets images. Zero marks are the agent's own.
type ImageOptions struct {
	Auth       string   // file of logins, as docker's config.json
	Registries string   // file of mirrors and the like
	Verify     string   // program that must accept an image
	Keys       []string // files with public keys, one of which must have signed it
	// In percent of the disk; see agent.Marks.
	DiskHigh, DiskLow, DiskFull int
}

func (o *ImageOptions) flags(f *pflag.FlagSet) {
	f.StringVar(&o.Auth, "registry-auth", "", "`file` with logins to registries, as docker's config.json (default: registry-auth.json in the data folder)")
	f.StringVar(&o.Registries, "registry-config", "", "`file` with registries' mirrors, CAs and plain ones, in JSON")
	f.StringVar(&o.Verify, "image-verify", "", "`program` that is called with reference, digest and manifest's path, and must end with 0")
	f.StringArrayVar(&o.Keys, "image-key", nil, "`file` with public keys, one of which must have signed an image; may be repeated")
	f.IntVar(&o.DiskHigh, "disk-high", 85, "`percent` of the disk from which unused images are removed")
	f.IntVar(&o.DiskLow, "disk-low", 75, "`percent` of the disk down to which they are removed")
	f.IntVar(&o.DiskFull, "disk-full", 95, "`percent` of the disk from which no task is started")
}
