"""The parts of the simulated room: furniture, layout, textures, light, ray caster, sensor."""
