/** Runs PixelMed's SR validator on many files in one JVM: starting it is what takes long. */
public class ValidateAll {
    public static void main(String[] paths) throws Exception {
        com.pixelmed.validate.DicomSRValidator validator =
                new com.pixelmed.validate.DicomSRValidator();
        for (String path : paths) {
            System.out.println("FILE " + path);
            System.out.println(validator.validate(path));
        }
    }
}
