"""Parts of the simulated room: furniture, layout, textures, lighting, ray caster, sensor."""
