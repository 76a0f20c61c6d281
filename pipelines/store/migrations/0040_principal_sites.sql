-- Where a principal works: names of sites with commas between, or * for every one. Clinicians had the whole tenant.
ALTER TABLE principal ADD COLUMN sites TEXT NOT NULL DEFAULT '';
UPDATE principal SET sites = '*' WHERE roles LIKE '%clinician%';
