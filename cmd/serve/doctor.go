package serve

import (
	"context"
	"path/filepath"

	"github.com/drupe-os/drupe/agent/doctor"
	"github.com/drupe-os/drupe/cmd/cli"
	"github.com/drupe-os/drupe/sdk"
)

// Doctor checks this machine. It is cli.RunDoctor.
func Doctor(ctx context.Context, o cli.DoctorOptions) ([]cli.Finding, error) {
	data, err := filepath.Abs(o.Data)
	if err != nil {
		return nil, err
	}
	f := doctor.Gather(doctor.Options{Data: data, Token: o.Token})
	f.Live(ctx, o.Servers)
	var list []cli.Finding
	for _, x := range doctor.Check(f) {
		list = append(list, cli.Finding{ID: x.ID, Level: string(x.Level), What: x.What, Why: x.Why, Fix: x.Fix})
	}
	return list, nil
}

// examine runs the doctor before the agent starts: what is fatal stops it, what
// is not is logged. Whether servers can be reached is left to the agent, which
// tries again and again. Errors: Unsupported.
func examine(ctx context.Context, cfg agentConfig, token string) error {
	f := doctor.Gather(doctor.Options{Data: cfg.Data, Token: token})
	f.Live(ctx, nil)
	for _, x := range doctor.Check(f) {
		switch x.Level {
		case doctor.Fatal:
			return sdk.Errorf(sdk.Unsupported, "machine", "%s", x.What).Because("%s", x.Why).ToFix("%s", x.Fix)
		case doctor.Warning:
			cfg.Log.Warn("machine", "what", x.What, "why", x.Why, "fix", x.Fix)
		}
	}
	return nil
}
