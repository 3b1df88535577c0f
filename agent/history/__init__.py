"""What a market tells by events alone: each kind read for one market, and kept in the journal."""
