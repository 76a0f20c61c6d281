-- The maker of a device's model, as it was when the device got its model: role maker reaches these alone.
ALTER TABLE device ADD COLUMN maker TEXT NOT NULL DEFAULT '';
UPDATE device SET maker = COALESCE((SELECT m.maker FROM device_model m WHERE m.model = device.model), '');
-- The maker that made a claim for its own devices, or empty.
ALTER TABLE claim ADD COLUMN maker TEXT NOT NULL DEFAULT '';
