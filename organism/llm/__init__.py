"""Language models behind one seam: `base` says what a provider is, `router` spreads calls over several."""
